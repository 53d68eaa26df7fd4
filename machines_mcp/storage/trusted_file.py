"""Read a file only if no other user except root can write it or any folder or link on its path."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_LINKS = 40
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NotOwned(Exception):
    """The file is not safe to read. The message is a clause with the cause and the fix; it contains no path."""


def read_owned(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file that only this user and root can change, replace or redirect.

    Raises:
        NotOwned: The file is missing or too large, or others can write it or a folder or link on its path.
    """
    try:
        way = list(_way_to(path))
        for _, found in way:
            _refuse_unsafe(found)
        place, seen = way[-1]
        if not stat.S_ISREG(seen.st_mode):
            raise NotOwned("is not a regular file")
        # If the file has become a pipe meanwhile, O_NONBLOCK keeps the open from waiting for a writer.
        descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as file:
            now = os.fstat(file.fileno())
            if (now.st_dev, now.st_ino) != (seen.st_dev, seen.st_ino):
                raise NotOwned("was replaced while being read; try again")
            content = file.read(most_bytes + 1)
    except (OSError, ValueError):
        raise NotOwned("can't be read; check that it exists and that this user can read it") from None
    if len(content) > most_bytes:
        raise NotOwned(f"is larger than {most_bytes} bytes")
    return content


def _way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every folder and link on the path, and the file itself last."""
    steps, here, links = list(reversed(path.parts[1:])), Path(path.anchor), 0
    yield here, here.lstat()
    while steps:
        step = steps.pop()
        if step == os.pardir:
            here = here.parent
            continue
        there = here / step
        found = there.lstat()
        yield there, found
        if not stat.S_ISLNK(found.st_mode):
            here = there
            continue
        links += 1
        if links > _MOST_LINKS:
            raise NotOwned("is behind a loop of symbolic links")
        target = Path(os.readlink(there))
        if target.is_absolute():
            here = Path(target.anchor)
        steps += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def _refuse_unsafe(found: os.stat_result) -> None:
    if os.name != "posix":
        return
    if stat.S_ISLNK(found.st_mode):
        what, writable = "a link on its path", False
    elif stat.S_ISDIR(found.st_mode):
        # In a sticky folder, such as /tmp, only a file's owner can replace it.
        what, writable = (
            "a parent folder",
            bool(found.st_mode & _WRITABLE_BY_OTHERS and not found.st_mode & stat.S_ISVTX),
        )
    else:
        what, writable = "it", bool(found.st_mode & _WRITABLE_BY_OTHERS)
    if found.st_uid not in (0, os.geteuid()):
        raise NotOwned(f"is not safe: {what} belongs to another user; it must belong to this user or root")
    if writable:
        raise NotOwned(f"is not safe: {what} is writable by its group or by everyone; run chmod go-w on it")
