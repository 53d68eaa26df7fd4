"""Make folders and files with their mode under any umask. Files are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """Create `folder` and any missing parents. A umask can only take access of others away.

    Raises:
        OSError: It can't be created.
    """
    # `parents=True` would make the parents with the mode 0777 and the umask.
    for missing in [above for above in (folder, *folder.parents) if not above.exists()][::-1]:
        missing.mkdir(mode=mode, exist_ok=True)
        made = missing.stat().st_mode
        if made & stat.S_IRWXU != stat.S_IRWXU:
            missing.chmod(stat.S_IMODE(made) | stat.S_IRWXU)
    if not folder.is_dir():
        raise NotADirectoryError


def make_file(path: Path | str, flags: int, mode: int = 0o600) -> int:
    """Create a file with exactly this mode, and return its descriptor.

    Raises:
        FileExistsError: There is one.
        OSError: It can't be created.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    if os.name == "posix":
        os.fchmod(descriptor, mode)
    return descriptor


def open_or_make(path: Path | str, flags: int) -> int:
    """Open a file, or create it with mode 0600, and return its descriptor.

    Raises:
        OSError: It can't be opened or created.
    """
    try:
        return make_file(path, flags)
    except FileExistsError:
        return os.open(path, flags | getattr(os, "O_BINARY", 0))


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the file atomically: after a crash or power failure it has either the old or the new content.

    Raises:
        OSError: The file can't be written; the old one is intact.
    """
    with _draft(path, content) as draft:
        if mode != 0o600:
            draft.chmod(mode)
        draft.replace(path)


def write_fault(path: Path) -> str | None:
    """Return why the file can't be replaced or created, as words after a field's name; None if it can.

    It is tried with a draft, because modes don't tell all: a file system may be read-only, or take no files.
    """
    try:
        if not path.parent.is_dir():
            return "is in a folder that does not exist; create the folder, or name a file in another"
        if path.is_dir():
            return "is a folder; name a file in it"
        if path.exists() and not path.is_file():
            return "is not a regular file; name another"
        with _draft(path, b""):
            return None
    except (OSError, ValueError):
        return "can't be written; name a file in a folder that this user can write"


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
    descriptor = make_file(draft, os.O_WRONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
