"""The tests pass with the lowest versions that pyproject.toml allows, and on every Python on this machine.

`make check` takes one of these in turn, by the number of commits; `make long` takes all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environments import VirtualEnvironment, find_python

pytestmark = pytest.mark.check

SUITE_SECONDS = 2400
WORKERS = 2
# Tests of the build, documents, leaks, faults and approvals do not depend on versions. Most journeys run the same code
# in separate servers.
ELSEWHERE = (
    *("packaging", "distribution", "docs", "examples", "benchmarks", "outside", "leaks", "mutants", "matrix"),
    *("approval", "faults", "crashes", "machine", "peers", "evals"),
    *(
        f"journeys/test_{name}.py"
        for name in ("audit", "interrupted", "desk", "preconditions", "next_steps", "second_user")
    ),
)
# A new user gets a card, over stdio, with subprocesses.
JOURNEY = "test_new_user_gets_a_verified_card_in_fifteen_steps"
MINORS = [11, 12, 13, 14]


def _run_suite(environment: VirtualEnvironment, root: Path, folder: Path, *options: str) -> None:
    """Run the tests of the checkout in `environment`, except those that do not depend on versions."""
    command = [str(environment.bin / "python"), "-m", "pytest", "-v", "-m", "not long"]
    command += [f"--ignore=tests/{name}" for name in ELSEWHERE] + ["--ignore-glob=*_in_chromium.py"]
    command += ["-o", f"cache_dir={folder / 'cache'}", *options]
    done = subprocess.run(
        [*command, "-n", str(WORKERS), "--dist", "loadfile"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    assert any(JOURNEY in line and "PASSED" in line for line in done.stdout.splitlines())


def _run_with_lowest_versions(root: Path, tmp_path: Path) -> None:
    environment = VirtualEnvironment(tmp_path / "venv")
    environment.install_lock(root / "locks" / "lowest.txt")
    environment.install_project("--editable", str(root))

    # A deprecation that a dependency has since fixed is not our fault.
    _run_suite(environment, root, tmp_path, "-W", "default")


def _run_with_python(python: str, root: Path, tmp_path: Path) -> None:
    environment = VirtualEnvironment(tmp_path / "venv", python)
    environment.install_lock(root / "locks" / "dev.txt")
    environment.install_project("--editable", str(root))

    _run_suite(environment, root, tmp_path)


def _other_pythons() -> dict[int, str]:
    """The other Pythons of this machine by minor version. `make test` runs the suite on this one."""
    found = {minor: find_python(minor) for minor in MINORS if sys.version_info[:2] != (3, minor)}
    return {minor: python for minor, python in found.items() if python is not None}


def _turn(root: Path) -> int:
    """Return the number of commits, so that each commit takes the next turn; 0 outside a git checkout."""
    counted = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return int(counted.stdout) if counted.returncode == 0 else 0


def test_suite_passes_with_the_versions_whose_turn_it_is(root: Path, tmp_path: Path) -> None:
    pythons = _other_pythons()
    turns: list[int | None] = [None, *pythons]
    minor = turns[_turn(root) % len(turns)]
    print("lowest versions" if minor is None else f"Python 3.{minor}")
    if minor is None:
        _run_with_lowest_versions(root, tmp_path)
    else:
        _run_with_python(pythons[minor], root, tmp_path)


@pytest.mark.long
def test_suite_passes_with_the_lowest_versions(root: Path, tmp_path: Path) -> None:
    _run_with_lowest_versions(root, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("minor", MINORS)
def test_suite_passes_on_every_python_of_the_machine(root: Path, tmp_path: Path, minor: int) -> None:
    if sys.version_info[:2] == (3, minor):
        pytest.skip(f"this is Python 3.{minor}: `make test` has run the suite on it")
    python = find_python(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} on this machine")
    _run_with_python(python, root, tmp_path)
