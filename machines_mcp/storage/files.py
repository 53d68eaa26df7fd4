"""Private folders, and files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def private_folder(folder: Path) -> None:
    """Create `folder` and any missing parents, accessible only to this user.

    Raises:
        OSError: It can't be created, or other users have access and it can't be removed.
    """
    # `parents=True` would make the parents readable by everyone, and folder names identify keys.
    for missing in [above for above in folder.parents if not above.exists()][::-1]:
        missing.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the file atomically: after a crash or power failure it has either the old or the new content.

    Raises:
        OSError: The file can't be written; the old one is intact.
    """
    with _draft(path, content) as draft:
        if mode != 0o600:
            draft.chmod(mode)
        draft.replace(path)


def create_atomically(path: Path, content: bytes) -> None:
    """Create the file atomically, readable only by this user. An existing file stays as it is.

    Raises:
        OSError: The file can't be written.
    """
    with _draft(path, content) as draft, suppress(FileExistsError):
        os.link(draft, path)


@contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    """Write a draft beside `path`, and remove it at the end unless it was moved."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
