"""What another user could have made or changed is not used, and nothing is made there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.private_folder import NotPrivate, check_database, check_private, private_folder
from machines_mcp.storage.process_locks import ProcessLocks
from machines_mcp.storage.state_keys import state_key
from tests.support.modes import UMASKS, mode, umask

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="needs POSIX owners and modes")]
as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a file away")

SOMEBODY = 65534
STRANGE_GROUP = 54321


async def use(folder: Path) -> None:
    """Use a state folder as a server does: keys, database, processes and the passphrase."""
    store = Store(folder)
    try:
        state_key(folder, "desk")
        guard = build_guard(store, default_policy("sandbox", read_only=False), ANY_USER)
        await guard.channels.waiting()
        guard.locks.own()
        await guard.passphrase.set(Secret("correct horse battery"), Secret("correct horse battery"))
        guard.locks.close()
        await guard.audit.close()
    finally:
        await store.close()


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("open_mode", [0o777, 0o775, 0o757, 0o770, 0o702, 0o720, 0o1777, 0o2775])
@pytest.mark.parametrize("which", ["root", "folder"])
async def test_folder_that_others_can_write_is_refused_before_anything_is_made(
    tmp_path: Path, which: str, open_mode: int
) -> None:
    root = tmp_path / "root"
    folder = root / "sandbox"
    folder.mkdir(parents=True, mode=0o700)
    spoilt = root if which == "root" else folder
    spoilt.chmod(open_mode)
    if (which, open_mode) == ("root", 0o1777):
        # As /tmp: only the owner of a file can replace it.
        await use(folder)
        return
    with pytest.raises(StoreUnavailable) as caught:
        await use(folder)
    wanted = 0o700 if which == "folder" else open_mode & ~0o022
    assert str(caught.value).endswith(f"Other users can write to {spoilt}. Run: chmod {wanted:04o} {spoilt}")
    assert files(folder) == set()
    spoilt.chmod(wanted)
    await use(folder)
    assert mode(spoilt) == wanted


@as_root
@pytest.mark.parametrize("which", [".", "sandbox", "sandbox/keys"])
async def test_folder_of_another_user_is_refused_whatever_its_mode(tmp_path: Path, which: str) -> None:
    foreign = tmp_path / "root" / which
    foreign.mkdir(parents=True, mode=0o700)
    os.chown(foreign, SOMEBODY, SOMEBODY)
    with pytest.raises(StoreUnavailable, match=f"{foreign} belongs to another user"):
        await use(tmp_path / "root" / "sandbox")
    assert [path for path in files(tmp_path) if path.is_file()] == []


# SQLite writes these beside a database, and applies what it finds there. The last one is a super-journal.
BESIDE = ("", "-wal", "-shm", "-journal", "-mj0A1B2C3D4")


@pytest.mark.parametrize("name", [*(f"state.db{end}" for end in BESIDE), "keys/audit.key", "keys/passphrase.json"])
@pytest.mark.parametrize("kind", ["writable", pytest.param("foreign", marks=as_root)])
async def test_file_that_another_user_made_or_can_write_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "state"
    await use(folder)
    file = folder / name
    if not file.exists():
        file.touch(mode=0o600)
    if kind == "foreign":
        os.chown(file, SOMEBODY, SOMEBODY)
        expected = f"{file} belongs to another user"
    else:
        file.chmod(0o666)
        expected = f"Other users can write to {file}. Run: chmod 0600 {file}"
    before = file.read_bytes()
    with pytest.raises(StoreUnavailable) as caught:
        await use(folder)
    assert expected in str(caught.value)
    assert file.read_bytes() == before


@as_root
@pytest.mark.parametrize("end", ["folder", "file"])
def test_group_may_read_only_if_this_process_belongs_to_it(tmp_path: Path, end: str) -> None:
    path = tmp_path / "end"
    path.mkdir() if end == "folder" else path.touch()
    own_mode = 0o700 if end == "folder" else 0o600
    path.chmod(own_mode | 0o050 if end == "folder" else 0o640)
    check_private(path)
    os.chown(path, 0, STRANGE_GROUP)
    with pytest.raises(NotPrivate, match=f"Other users can read .* Run: chmod {own_mode:04o}"):
        check_private(path)
    path.chmod(own_mode)
    check_private(path)


def test_own_folder_that_others_could_only_read_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    private_folder(folder)
    assert mode(folder) == 0o700


async def test_links_are_followed_if_they_belong_to_the_owner_of_their_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    await use(tmp_path / "link" / "state")
    assert (tmp_path / "real" / "state" / "state.db").exists()
    (tmp_path / "real").chmod(0o777)
    with pytest.raises(StoreUnavailable, match=f"write to {tmp_path / 'real'}"):
        await use(tmp_path / "link" / "state")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreUnavailable):
        await use(tmp_path / "loop" / "state")
    (tmp_path / "nowhere").symlink_to("missing")
    with pytest.raises(StoreUnavailable):
        await use(tmp_path / "nowhere" / "state")


@as_root
def test_link_of_another_owner_than_its_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, real = tmp_path / "place", tmp_path / "real"
    for folder in (place, real):
        folder.mkdir(mode=0o700)
        os.chown(folder, SOMEBODY, SOMEBODY)
    link = place / "link"
    link.symlink_to(real)
    os.chown(link, SOMEBODY, SOMEBODY, follow_symlinks=False)
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    check_private(link / "state")
    # Root may own folders and links, but here the link belongs to someone else than the folder.
    os.chown(link, 0, 0, follow_symlinks=False)
    with pytest.raises(NotPrivate, match="has another owner than its folder"):
        check_private(link / "state")
    os.chown(place, 0, 0)
    check_private(link / "state")


@pytest.mark.parametrize("value", UMASKS)
async def test_every_file_and_folder_of_the_state_is_private_under_any_umask(tmp_path: Path, value: int) -> None:
    with umask(value):
        await use(tmp_path / "a" / "b" / "state")
    modes = {path.relative_to(tmp_path): mode(path) for path in files(tmp_path)}
    assert {found for path, found in modes.items() if (tmp_path / path).is_dir()} == {0o700}
    assert {found for path, found in modes.items() if (tmp_path / path).is_file()} == {0o600}


def test_the_folder_of_processes_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "owners").mkdir()
    (tmp_path / "owners").chmod(0o777)
    with pytest.raises(NotPrivate):
        ProcessLocks(tmp_path).own()


@pytest.mark.parametrize("end", BESIDE)
def test_every_file_beside_a_database_is_checked(tmp_path: Path, end: str) -> None:
    database = tmp_path / "sandbox.db"
    file = tmp_path / f"sandbox.db{end}"
    check_database(database)
    file.touch(mode=0o600)
    check_database(database)
    file.chmod(0o606)
    with pytest.raises(NotPrivate, match=f"Other users can write to {file}"):
        check_database(database)
