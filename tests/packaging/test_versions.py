"""The tests pass with the lowest versions that pyproject.toml allows, and on every Python on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.environments import Environment, find_python

pytestmark = pytest.mark.check

SUITE_SECONDS = 2400
# Tests spend half of their time waiting for subprocesses.
WORKERS = 2
# Tests of the build, documents, leaks, faults and approvals do not depend on versions. Most journeys run the same code
# in separate servers.
ELSEWHERE = (
    *("packaging", "distribution", "docs", "examples", "benchmarks", "outside", "leaks", "mutants", "matrix"),
    *("approval", "faults", "crashes", "machine", "peers"),
    *(f"journeys/test_{name}.py" for name in ("audit", "interrupted", "desk", "gates", "next_steps", "second_user")),
)
# A new user gets a card, over stdio, with subprocesses.
JOURNEY = "test_new_user_gets_a_verified_card_in_fifteen_steps"
MINORS = [11, 12, 13, 14]


def _run_suite(environment: Environment, root: Path, folder: Path, *options: str) -> None:
    """Run the quick tests of the checkout in `environment`, and what failed once more, alone.

    Other tests run beside them here. What only such a crowd upsets is for `make test` to find; what a version breaks
    fails alone as well.
    """
    command = [str(environment.bin / "python"), "-m", "pytest", "-v", "-m", "not check"]
    command += [f"--ignore=tests/{name}" for name in ELSEWHERE]
    command += ["-o", f"cache_dir={folder / 'cache'}", *options]
    first = _run([*command, "-n", str(WORKERS), "--dist", "loadfile"], root)
    said = first.stdout
    if first.returncode != 0:
        assert first.returncode == 1, f"{first.stdout[-8000:]}\n{first.stderr[-2000:]}"
        again = _run([*command, "--last-failed", "--last-failed-no-failures", "none"], root)
        assert again.returncode == 0, f"{again.stdout[-8000:]}\n{again.stderr[-2000:]}"
        said += again.stdout
    assert any(JOURNEY in line and "PASSED" in line for line in said.splitlines())


def _run(command: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SUITE_SECONDS
    )


def test_suite_passes_with_the_lowest_versions(root: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install_lock(root / "locks" / "lowest.txt")
    environment.install_project("--editable", str(root))

    # A deprecation that a dependency has since fixed is not our fault.
    _run_suite(environment, root, tmp_path, "-W", "default")


@pytest.mark.parametrize("minor", MINORS)
def test_suite_passes_on_every_python_of_the_machine(root: Path, tmp_path: Path, minor: int) -> None:
    if sys.version_info[:2] == (3, minor):
        pytest.skip(f"this is Python 3.{minor}: `make test` has run the suite on it")
    python = find_python(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} on this machine")
    environment = Environment(tmp_path / "venv", python)
    environment.install_lock(root / "locks" / "dev.txt")
    environment.install_project("--editable", str(root))

    _run_suite(environment, root, tmp_path)
