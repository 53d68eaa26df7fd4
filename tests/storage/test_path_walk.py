"""The walk yields every folder and link on the way to a file, and a loop of links ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from machines_mcp.storage.path_walk import LinkLoop, lets_replace, walk_path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX links and modes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def walked(path: Path, below: Path) -> list[str]:
    return [str(step.relative_to(below)) for step, _ in walk_path(path) if step.is_relative_to(below)]


def test_walk_yields_the_path_from_the_root_to_the_file(folder: Path) -> None:
    (folder / "file").touch()
    steps = [step for step, _ in walk_path(folder / "file")]
    assert steps == [*reversed(folder.parents), folder, folder / "file"]


def test_walk_follows_links_and_yields_the_links_on_the_way(folder: Path) -> None:
    (folder / "real" / "deep").mkdir(parents=True)
    (folder / "real" / "file").touch()
    (folder / "relative").symlink_to("real/deep/../file")
    (folder / "absolute").symlink_to(folder / "real")
    assert walked(folder / "relative", folder) == [".", "relative", "real", "real/deep", "real/file"]
    way = walked(folder / "absolute" / "file", folder)
    assert way == [".", "absolute", ".", "real", "real/file"]


def test_each_step_has_its_own_status(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("file")
    kinds = [stat.S_IFMT(found.st_mode) for _, found in walk_path(folder / "link")]
    assert kinds[-3:] == [stat.S_IFDIR, stat.S_IFLNK, stat.S_IFREG]


def test_link_loop_ends(folder: Path) -> None:
    (folder / "one").symlink_to("other")
    (folder / "other").symlink_to("one")
    with pytest.raises(LinkLoop):
        list(walk_path(folder / "one"))


def test_missing_part_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk_path(folder / "nowhere" / "file"))


@pytest.mark.parametrize(
    ("mode", "group", "others"),
    [(0o755, False, False), (0o775, True, False), (0o757, False, True), (0o1777, False, False)],
)
def test_only_the_owner_replaces_files_in_a_sticky_folder(folder: Path, mode: int, group: bool, others: bool) -> None:
    folder.chmod(mode)
    found = folder.stat()
    assert (lets_replace(found, stat.S_IWGRP), lets_replace(found, stat.S_IWOTH)) == (group, others)
