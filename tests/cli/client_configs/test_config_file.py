"""Test that a config is replaced atomically, with a private backup of the old file."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from machines_mcp.cli.client_configs.config_file import read
from machines_mcp.cli.client_configs.errors import ConfigError

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX promise")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_replacing_a_config_keeps_a_dated_backup_next_to_it(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(b"{}\r\n")
    backup = read(path).replace('{"a": "\u00e9"}\r\n')
    assert path.read_bytes() == '{"a": "\u00e9"}\r\n'.encode()
    assert backup is not None
    assert re.fullmatch(r"mcp\.json\.20\d\d-\d\d-\d\dT\d{6}Z(-\d+)?\.bak", backup.name)
    assert backup.read_bytes() == b"{}\r\n"
    again = read(path).replace("{}")
    assert again not in (None, backup)
    assert sorted(tmp_path.iterdir()) == sorted([path, backup, again])


@posix_only
@pytest.mark.parametrize("before", [0o600, 0o644, 0o664])
def test_the_file_mode_is_kept_and_the_backup_is_private(tmp_path: Path, before: int) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}", encoding="utf-8")
    path.chmod(before)
    backup = read(path).replace("{ }")
    assert backup is not None
    assert (mode(path), mode(backup)) == (before, 0o600)


@posix_only
def test_a_new_config_is_private_and_its_folder_is_created(tmp_path: Path) -> None:
    path = tmp_path / "Code" / "User" / "mcp.json"
    assert read(path).text == ""
    assert read(path).replace("{}") is None
    assert mode(path) == 0o600
    assert list(path.parent.iterdir()) == [path]


@posix_only
@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_is_preserved(tmp_path: Path, there: bool) -> None:
    target, path = tmp_path / "dotfiles" / "mcp.json", tmp_path / "mcp.json"
    target.parent.mkdir()
    if there:
        target.write_text("{}", encoding="utf-8")
    path.symlink_to(target)
    read(path).replace("{ }")
    assert path.is_symlink()
    assert target.read_text(encoding="utf-8") == "{ }"


def test_a_change_by_another_program_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}", encoding="utf-8")
    file = read(path)
    path.write_text('{"theirs": 1}', encoding="utf-8")
    with pytest.raises(ConfigError, match="changed by another program"):
        file.replace("{ }")
    assert path.read_text(encoding="utf-8") == '{"theirs": 1}'


def test_a_failed_write_leaves_the_file_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}", encoding="utf-8")
    file = read(path)

    def disk_full(descriptor: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(ConfigError, match="can't be written"):
        file.replace("{ }")
    assert path.read_text(encoding="utf-8") == "{}"
    assert not [left for left in tmp_path.iterdir() if left.name.startswith(".")]


def test_a_config_that_is_not_utf8_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"{\n\xff}")
    with pytest.raises(ConfigError, match="line 2: not valid UTF-8"):
        _ = read(tmp_path / "a").text
    with pytest.raises(ConfigError, match=r"can't be read|not a file"):
        read(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="can't be read"):
        read(tmp_path / "file" / "below")


@posix_only
def test_a_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        read(tmp_path / "pipe")
