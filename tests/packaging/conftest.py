"""Fixtures of the packaging tests: the checkout, and one wheel and sdist built from it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


def _build(tree: Path, target: str, into: Path) -> Path:
    """Build `target` from `tree` with the pinned backend, and return its only file."""
    into.mkdir()
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)]
    built = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=PATIENCE)
    assert built.returncode == 0, built.stderr
    (artifact,) = into.iterdir()
    return artifact


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(ROOT, "wheel", tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(ROOT, "sdist", tmp_path_factory.mktemp("sdist") / "dist")


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the sdist, as someone who builds from it would."""
    into = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        # The first patch releases of Python 3.11 have no filter. Later ones warn if none is given.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(into)  # noqa: S202 - built from this checkout a moment ago
    (tree,) = into.iterdir()
    return tree


@pytest.fixture(scope="session")
def wheel_of_sdist(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(unpacked, "wheel", tmp_path_factory.mktemp("wheel-of-sdist") / "dist")
