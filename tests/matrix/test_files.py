"""Neither the project's files nor its build artifacts contain a card number."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, sdist, wheel
from tests.support.card_numbers import card_number
from tests.support.cards_in import cards_in

__all__ = ["sdist", "wheel"]


def tracked() -> list[Path]:
    """Return the files tracked by git, or every file except caches without git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def found_in(files: Iterator[tuple[str, bytes]]) -> dict[str, int]:
    """Count the card numbers in each file, without naming them."""
    counted = ((name, len(cards_in(data.decode("utf-8", "replace")))) for name, data in files)
    return {name: count for name, count in counted if count}


def test_scan_finds_a_card_number() -> None:
    assert found_in(iter([("a.py", f"x = {card_number()}".encode()), ("b.py", b"1 2 3")])) == {"a.py": 1}


@pytest.mark.check
def test_checkout_contains_no_card_number() -> None:
    files = tracked()
    assert len(files) > 200
    assert found_in((str(path.relative_to(ROOT)), path.read_bytes()) for path in files) == {}


@pytest.mark.check
def test_release_contains_no_card_number(wheel: Path, sdist: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(sdist) as archive:
        opened = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        packed |= {name: file.read() for name, file in opened.items() if file is not None}
    assert len(packed) > 300
    assert found_in(iter(packed.items())) == {}
