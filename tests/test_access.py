"""What is said of who can read and write a file is what the operating system lets them do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from machines_mcp.access import Act, can, is_private, user_name, who

pytestmark = pytest.mark.skipif(os.name != "posix", reason="users and modes are POSIX")

NOBODY = 65534
ME = frozenset({os.geteuid()} if os.name == "posix" else set())


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that everybody can pass through."""
    made = Path(tempfile.mkdtemp(prefix="machines-access-"))
    made.chmod(0o711)
    (made / "a").mkdir(mode=0o700)
    (made / "a" / "file").write_bytes(b"")
    yield made
    shutil.rmtree(made)


def shaped(home: Path, home_mode: int, folder: int, file: int) -> Path:
    (home / "a" / "file").chmod(file)
    (home / "a").chmod(folder)
    home.chmod(home_mode)
    return home / "a" / "file"


CASES = [
    # home, folder, file, who reads, who writes
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
def test_modes_on_the_whole_way_say_who_can(
    home: Path, home_mode: int, folder: int, file: int, reads: str, writes: str
) -> None:
    path = shaped(home, home_mode, folder, file)
    for act, expected in (("read", reads), ("write", writes)):
        found = who(path, act)  # type: ignore[arg-type]
        assert found == (f"only {user_name(os.geteuid())}" if expected == "only" else expected)
        assert is_private(path, act, uids=ME) == (expected == "only")  # type: ignore[arg-type]


def test_what_belongs_to_somebody_else_is_not_private(home: Path) -> None:
    path = shaped(home, 0o711, 0o700, 0o600)
    assert not is_private(path, "read", uids=frozenset({NOBODY}))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("act", ["read", "write"])
@pytest.mark.parametrize(("home_mode", "folder", "file"), [case[:3] for case in CASES])
@pytest.mark.parametrize("owned", [(), ("a",), ("a", "a/file"), ("a/file",)])
def test_what_another_user_can_is_what_they_get_done(
    home: Path, home_mode: int, folder: int, file: int, act: Act, owned: tuple[str, ...]
) -> None:
    path = shaped(home, home_mode, folder, file)
    for name in owned:
        os.chown(home / name, NOBODY, NOBODY)
    foretold = can(NOBODY, path, act)
    assert foretold == _done_by_nobody(path, act)


def _done_by_nobody(path: Path, act: Act) -> bool:
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        attempts: list[Callable[[], object]] = [lambda: os.open(path, os.O_RDONLY if act == "read" else os.O_WRONLY)]
        if act == "write":
            attempts.append(lambda: os.rename(path, path.with_name("taken")))
            attempts.append(lambda: os.rename(path.parent, path.parent.with_name("b")))
        for attempt in attempts:
            try:
                attempt()
            except OSError:
                continue
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_root_can_everything(home: Path) -> None:
    assert can(0, shaped(home, 0o711, 0o700, 0o600), "write")


def test_a_user_without_a_name_is_named_by_number() -> None:
    assert user_name(4_000_000) == "uid 4000000"
    assert not can(4_000_000, Path("/"), "write")
