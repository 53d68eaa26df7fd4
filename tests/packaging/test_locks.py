"""The locks list every package with hashes, agree with pyproject.toml and each other, and name no index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = [
    "runtime.txt",
    "chain.txt",
    "sandbox-chain.txt",
    "evals.txt",
    "dev.txt",
    "lowest.txt",
    "scanners.txt",
    "lock.txt",
]
PINNED = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)")


def _requirements(text: str) -> list[str]:
    """Return a lock's entries, one logical line each, with hashes."""
    lines = (line for line in text.replace("\\\n", " ").splitlines() if line.strip())
    return [line for line in lines if not line.startswith("#")]


def _pins(path: Path) -> dict[str, str]:
    """Return name to version for each entry of a lock."""
    found = (PINNED.match(line) for line in _requirements(path.read_text(encoding="utf-8")))
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def _wanted(root: Path, *groups: str, extras: tuple[str, ...] = ()) -> list[Requirement]:
    """Return the direct requirements in pyproject.toml, including those of the named groups and extras."""
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    listed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in extras:
        listed += project["project"]["optional-dependencies"][extra]
    for group in groups:
        listed += [entry for entry in project["dependency-groups"][group] if isinstance(entry, str)]
    return [Requirement(entry) for entry in listed]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_contains_only_versions_and_hashes(root: Path, name: str) -> None:
    entry = re.compile(r"^[a-z0-9][a-z0-9.-]*==[^\s;]+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*$")
    entries = _requirements((root / "locks" / name).read_text(encoding="utf-8"))

    assert entries
    assert [line[:60] for line in entries if not entry.match(line)] == []


def test_lock_contains_no_url(root: Path) -> None:
    for path in (root / "locks").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path.name
        assert not re.search(r"^\s*-(-(extra-)?index-url|-find-links|-trusted-host|f|i)\b", text, re.M), path.name


@pytest.mark.parametrize(
    ("name", "groups"),
    [("runtime.txt", ["build"]), ("dev.txt", ["build", "dev"]), ("lowest.txt", ["build", "dev"])],
)
def test_every_direct_requirement_is_locked_to_an_allowed_version(root: Path, name: str, groups: list[str]) -> None:
    pins = _pins(root / "locks" / name)

    for wanted in _wanted(root, *groups):
        assert pins[canonicalize_name(wanted.name)] in wanted.specifier, wanted


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("runtime.txt", "chain.txt"),
        ("chain.txt", "sandbox-chain.txt"),
        ("sandbox-chain.txt", "dev.txt"),
        ("runtime.txt", "evals.txt"),
    ],
)
def test_larger_lock_extends_the_smaller_one_unchanged(root: Path, smaller: str, larger: str) -> None:
    fewer, more = _pins(root / "locks" / smaller), _pins(root / "locks" / larger)

    assert fewer
    assert {name: more.get(name) for name in fewer} == fewer


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("chain.txt", ("chain", "solana")),
        ("sandbox-chain.txt", ("chain", "solana", "sandbox-chain")),
        ("evals.txt", ("evals",)),
    ],
)
def test_lock_has_its_extras(root: Path, name: str, extras: tuple[str, ...]) -> None:
    pins = _pins(root / "locks" / name)

    for wanted in _wanted(root, extras=extras):
        if wanted.name != "machines-mcp":
            assert pins[canonicalize_name(wanted.name)] in wanted.specifier, wanted


def test_lowest_lock_pins_the_lower_bounds(root: Path) -> None:
    pins = _pins(root / "locks" / "lowest.txt")

    for wanted in _wanted(root):
        (lower,) = (bound.version for bound in wanted.specifier if bound.operator == ">=")
        pinned = pins[canonicalize_name(wanted.name)]
        assert f"{pinned}.0.0".startswith(f"{lower}."), f"{wanted} is tested at {pinned} only"
