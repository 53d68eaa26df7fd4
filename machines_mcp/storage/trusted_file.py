"""Reading a file that only this user or root can have written: on every step of the way to it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_LINKS = 40
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NotOwned(Exception):
    """The message is a clause that says what is wrong with the file and what to do; it holds no path."""


def read_owned(path: Path, most_bytes: int) -> bytes:
    """What stands in a regular file that nobody but this user and root can change, replace or lead elsewhere.

    Raises:
        NotOwned: It is not there or too large, or others can write it, a folder above it, or a link on the way.
    """
    try:
        way = list(_way_to(path))
        for _, found in way:
            _refuse_unsafe(found)
        place, seen = way[-1]
        if not stat.S_ISREG(seen.st_mode):
            raise NotOwned("is not a regular file")
        # Not to wait for the writer of a pipe, should it have become one meanwhile.
        descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as file:
            now = os.fstat(file.fileno())
            if (now.st_dev, now.st_ino) != (seen.st_dev, seen.st_ino):
                raise NotOwned("was replaced while it was read; try again")
            content = file.read(most_bytes + 1)
    except (OSError, ValueError):
        raise NotOwned("can't be read; check that it is there and that this user may read it") from None
    if len(content) > most_bytes:
        raise NotOwned(f"is larger than {most_bytes} bytes")
    return content


def _way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every folder and link that is passed on the way to the file, and the file, last."""
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
            raise NotOwned("is behind a circle of links")
        target = Path(os.readlink(there))
        if target.is_absolute():
            here = Path(target.anchor)
        steps += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def _refuse_unsafe(found: os.stat_result) -> None:
    if os.name != "posix":
        return
    if stat.S_ISLNK(found.st_mode):
        what, writable = "a link on the way to it", False
    elif stat.S_ISDIR(found.st_mode):
        # In a sticky folder, such as /tmp, only its owner can replace a file.
        what, writable = (
            "a folder above it",
            bool(found.st_mode & _WRITABLE_BY_OTHERS and not found.st_mode & stat.S_ISVTX),
        )
    else:
        what, writable = "it", bool(found.st_mode & _WRITABLE_BY_OTHERS)
    if found.st_uid not in (0, os.geteuid()):
        raise NotOwned(f"is not safe: {what} belongs to another user; it must be this user's or root's")
    if writable:
        raise NotOwned(f"is not safe: {what} can be written by its group or by everybody; run chmod go-w on it")
