"""Test that the reported file access matches what the operating system allows."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from machines_mcp.cli.doctor.file_permissions import Access, describe_access, has_access, is_private, user_name
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.skipif(os.name != "posix", reason="users and modes are POSIX")

NOBODY_UID = 65534
ACTS: tuple[Access, ...] = ("read", "write")
ME = frozenset({os.geteuid()} if os.name == "posix" else set())


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user can traverse."""
    made = Path(tempfile.mkdtemp(prefix="machines-access-"))
    made.chmod(0o711)
    (made / "a").mkdir(mode=0o700)
    (made / "a" / "file").write_bytes(b"")
    yield made
    shutil.rmtree(made)


def file_with_modes(home: Path, home_mode: int, folder: int, file: int) -> Path:
    (home / "a" / "file").chmod(file)
    (home / "a").chmod(folder)
    home.chmod(home_mode)
    return home / "a" / "file"


CASES = [
    # modes of home, folder and file; who reads; who writes
    (0o711, 0o700, 0o600, "only", "only"),
    (0o711, 0o700, 0o666, "only", "only"),
    (0o711, 0o755, 0o600, "only", "only"),
    (0o711, 0o755, 0o644, "everybody", "only"),
    (0o711, 0o755, 0o666, "everybody", "everybody"),
    (0o711, 0o711, 0o604, "everybody", "only"),
    (0o711, 0o750, 0o640, "a group", "only"),
    (0o711, 0o750, 0o660, "a group", "a group"),
    (0o711, 0o770, 0o600, "only", "a group"),
    (0o711, 0o777, 0o600, "only", "everybody"),
    (0o711, 0o1777, 0o600, "only", "only"),
    (0o777, 0o700, 0o600, "only", "everybody"),
    (0o1777, 0o700, 0o600, "only", "only"),
    (0o700, 0o755, 0o644, "only", "only"),
]


@pytest.mark.parametrize(("home_mode", "folder", "file", "reads", "writes"), CASES)
def test_access_depends_on_the_modes_of_the_whole_path(
    home: Path, home_mode: int, folder: int, file: int, reads: str, writes: str
) -> None:
    path = file_with_modes(home, home_mode, folder, file)
    for act, expected in zip(ACTS, (reads, writes), strict=True):
        found = describe_access(path, act)
        assert found == (f"only {user_name(os.geteuid())}" if expected == "only" else expected)
        assert is_private(path, act, uids=ME) == (expected == "only")


def test_a_file_of_another_user_is_not_private(home: Path) -> None:
    path = file_with_modes(home, 0o711, 0o700, 0o600)
    assert not is_private(path, "read", uids=frozenset({NOBODY_UID}))


# Becomes the other user and prints, for each line of action and path, whether the action succeeds.
_NOBODY_TRIES = """
import os, sys

os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for line in sys.stdin.read().splitlines():
    act, path = line.split(" ", 1)
    folder = os.path.dirname(path)
    attempts = [(os.open, path, os.O_RDONLY if act == "read" else os.O_WRONLY)]
    if act == "write":
        attempts += [(os.rename, path, folder + "/taken"), (os.rename, folder, folder + "-taken")]
    done = False
    for attempt, *given in attempts:
        try:
            attempt(*given)
            done = True
            break
        except OSError:
            pass
    print(int(done))
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.check
def test_predicted_access_matches_what_another_user_can_do(home: Path) -> None:
    foretold: dict[tuple[str, str], bool] = {}
    for number, (case, owned, act) in enumerate(
        itertools.product(CASES, [(), ("a",), ("a", "a/file"), ("a/file",)], ACTS)
    ):
        own = home / str(number)
        (own / "a").mkdir(parents=True)
        (own / "a" / "file").write_bytes(b"")
        path = file_with_modes(own, *case[:3])
        for name in owned:
            os.chown(own / name, NOBODY_UID, NOBODY_UID)
        foretold[act, str(path)] = has_access(NOBODY_UID, path, act)
    lines = "\n".join(f"{act} {path}" for act, path in foretold)
    done = subprocess.run(
        [sys.executable, "-c", _NOBODY_TRIES], input=lines, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert [line == "1" for line in done.stdout.splitlines()] == list(foretold.values())
    assert set(foretold.values()) == {True, False}


def test_root_has_all_access(home: Path) -> None:
    assert has_access(0, file_with_modes(home, 0o711, 0o700, 0o600), "write")


def test_a_user_without_a_name_is_shown_by_number() -> None:
    assert user_name(4_000_000) == "uid 4000000"
    assert not has_access(4_000_000, Path("/"), "write")
