"""No card number stands in a file of the project, nor in what is made of it."""

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
    """The files that git knows; all but caches where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def found_in(files: Iterator[tuple[str, bytes]]) -> dict[str, int]:
    """How many card numbers stand in which file; never which."""
    counted = ((name, len(cards_in(data.decode("utf-8", "replace")))) for name, data in files)
    return {name: count for name, count in counted if count}


def test_the_scan_finds_a_number_that_is_there() -> None:
    assert found_in(iter([("a.py", f"x = {card_number()}".encode()), ("b.py", b"1 2 3")])) == {"a.py": 1}


def test_no_file_of_the_checkout_holds_a_card_number() -> None:
    files = tracked()
    assert len(files) > 200
    assert found_in((str(path.relative_to(ROOT)), path.read_bytes()) for path in files) == {}


@pytest.mark.check
def test_no_file_of_a_release_holds_a_card_number(wheel: Path, sdist: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(sdist) as archive:
        opened = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        packed |= {name: file.read() for name, file in opened.items() if file is not None}
    assert len(packed) > 300
    assert found_in(iter(packed.items())) == {}
