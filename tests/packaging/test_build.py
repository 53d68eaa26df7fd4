"""The contents of the wheel and the sdist."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

SHIPPED_TOP_LEVEL = [
    *("README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "AGENTS.md"),
    *("Makefile", "pyproject.toml"),
]
SHIPPED_FOLDERS = [
    "machines_mcp",
    "prompts",
    "tests",
    "benchmarks",
    "distribution",
    "docs",
    "evals",
    "examples",
    "locks",
]


def _files(folder: Path) -> set[str]:
    """Return the paths relative to `folder`, without caches and hidden files."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if not any(p == "__pycache__" or p.startswith(".") for p in path.parts)}


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_contains_only_the_package_and_the_prompts(root: Path, wheel: Path) -> None:
    package = {f"machines_mcp/{name}" for name in _files(root / "machines_mcp")}
    prompts = {f"machines_mcp/prompts/{name}" for name in _files(root / "prompts")}
    names = _names(wheel)
    about = {name for name in names if ".dist-info/" in name}

    assert names - about == package | prompts
    assert {name.split("/", 1)[1] for name in about} == {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_wheel_runs_on_any_platform(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


@pytest.mark.parametrize("name", SHIPPED_TOP_LEVEL)
def test_sdist_contains_the_top_level_file(unpacked: Path, name: str) -> None:
    assert (unpacked / name).is_file()


@pytest.mark.parametrize("folder", SHIPPED_FOLDERS)
def test_sdist_contains_the_whole_folder(root: Path, unpacked: Path, folder: str) -> None:
    assert _files(unpacked / folder) == _files(root / folder)


def test_wheel_from_the_sdist_equals_the_one_from_the_checkout(wheel: Path, wheel_of_sdist: Path) -> None:
    assert _names(wheel_of_sdist) == _names(wheel)
