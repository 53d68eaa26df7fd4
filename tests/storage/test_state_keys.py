from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import pytest

from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.state_keys import KEY_BYTES, state_key

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")


def test_key_is_created_on_first_use_and_kept(tmp_path: Path) -> None:
    first = state_key(tmp_path, "approvals")
    assert len(first) == KEY_BYTES
    assert state_key(tmp_path, "approvals") == first


def test_each_name_and_folder_has_its_own_key(tmp_path: Path) -> None:
    keys = {state_key(tmp_path / folder, name) for folder in ("a", "b") for name in ("approvals", "request-state")}
    assert len(keys) == 4


@posix_only
def test_key_file_is_private_regardless_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state_key(tmp_path / "state", "approvals")
    finally:
        os.umask(before)
    folder = tmp_path / "state" / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "approvals.key").stat().st_mode) == 0o600


def test_first_of_two_concurrent_key_creations_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[bytes] = []

    def overtaken(size: int) -> bytes:
        monkeypatch.undo()
        others.append(state_key(tmp_path, "approvals"))
        return secrets.token_bytes(size)

    monkeypatch.setattr("machines_mcp.storage.state_keys.secrets.token_bytes", overtaken)
    assert state_key(tmp_path, "approvals") == others[0] == state_key(tmp_path, "approvals")
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["approvals.key"]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * (KEY_BYTES + 1)])
def test_file_that_is_not_a_key_is_rejected_and_left_alone(tmp_path: Path, content: bytes) -> None:
    state_key(tmp_path, "approvals")
    path = tmp_path / "keys" / "approvals.key"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable):
        state_key(tmp_path, "approvals")
    assert path.read_bytes() == content


def test_unusable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StoreUnavailable):
        state_key(tmp_path / "state", "approvals")
