"""Modes of files, and the umask of this process."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UMASKS = (0o000, 0o002, 0o022, 0o077, 0o277, 0o777)


@contextmanager
def umask(value: int) -> Iterator[None]:
    """Set the umask for the block."""
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    """Return the permission bits of a file, folder or link."""
    return stat.S_IMODE(path.lstat().st_mode)
