"""Read a file only if no other user except root can write it or any folder or link on its path."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from machines_mcp.storage.path_walk import LinkLoop, lets_replace, walk_path

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NotOwned(Exception):
    """The file is not safe to read. The message is a clause with the cause and the fix; it contains no path."""


def read_owned(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file that only this user and root can change, replace or redirect.

    Raises:
        NotOwned: The file is missing or too large, or others can write it or a folder or link on its path.
    """
    try:
        way = list(walk_path(path))
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
    except LinkLoop:
        raise NotOwned("is behind a loop of symbolic links") from None
    except (OSError, ValueError):
        raise NotOwned("can't be read; check that it exists and that this user can read it") from None
    if len(content) > most_bytes:
        raise NotOwned(f"is larger than {most_bytes} bytes")
    return content


def _refuse_unsafe(found: os.stat_result) -> None:
    if os.name != "posix":
        return
    if stat.S_ISLNK(found.st_mode):
        what, writable = "a link on its path", False
    elif stat.S_ISDIR(found.st_mode):
        what, writable = "a parent folder", lets_replace(found, _WRITABLE_BY_OTHERS)
    else:
        what, writable = "it", bool(found.st_mode & _WRITABLE_BY_OTHERS)
    if found.st_uid not in (0, os.geteuid()):
        raise NotOwned(f"is not safe: {what} belongs to another user; it must belong to this user or root")
    if writable:
        raise NotOwned(f"is not safe: {what} is writable by its group or by everyone; run chmod go-w on it")
