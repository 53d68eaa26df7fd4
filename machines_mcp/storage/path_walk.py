"""Walk the path of a file: a user who can change a folder or link on it can replace the file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MAX_LINKS = 40


class LinkLoop(OSError):
    """The path leads through too many symbolic links."""


def walk_path(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every folder and link on an absolute path with its own status, and the file itself last.

    Raises:
        OSError: A part of the path can't be inspected, or its links form a loop (`LinkLoop`).
    """
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
        if links > _MAX_LINKS:
            raise LinkLoop(errno.ELOOP, os.strerror(errno.ELOOP))
        target = Path(os.readlink(there))
        if target.is_absolute():
            here = Path(target.anchor)
        steps += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def lets_replace(folder: os.stat_result, write_bits: int) -> bool:
    """Return whether the users of `write_bits` (group, others or both) can replace files of others in the folder."""
    # In a sticky folder, such as /tmp, only the owner of the folder or of a file can replace the file.
    return bool(folder.st_mode & write_bits) and not folder.st_mode & stat.S_ISVTX
