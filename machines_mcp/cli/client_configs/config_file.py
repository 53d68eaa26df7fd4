"""A client's config file: read whole, backed up before a change, and replaced atomically."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from machines_mcp.cli.client_configs.errors import ConfigError
from machines_mcp.storage.files import make_file, make_folder, write_atomically

MAX_BYTES = 64 * 1024 * 1024
_NEW_FILE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The file as it was read; `content` is None if there was no file."""

    path: Path
    content: bytes | None
    mode: int

    @property
    def text(self) -> str:
        """The content as text; empty if there was no file.

        Raises:
            ConfigError: The content is not UTF-8.
        """
        content = self.content or b""
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{self.path}, line {line}: not valid UTF-8. Nothing was changed.") from None

    def replace(self, text: str) -> Path | None:
        """Replace the file atomically. Returns the path of the backup, or None if there was no file.

        Raises:
            ConfigError: The file can't be written, or was changed meanwhile.
        """
        try:
            target = Path(os.path.realpath(self.path))
            make_folder(target.parent)
            backup = None if self.content is None else _back_up(self.path, self.content)
            self._refuse_if_changed()
            write_atomically(target, text.encode(), self.mode)
        except OSError:
            raise ConfigError(f"{self.path} can't be written; check its owner and free space.") from None
        return backup

    def remove(self) -> None:
        """Delete the file.

        Raises:
            ConfigError: The file can't be deleted, or was changed meanwhile.
        """
        self._refuse_if_changed()
        try:
            self.path.unlink()
        except OSError:
            raise ConfigError(f"{self.path} can't be removed; check its owner.") from None

    @property
    def is_link(self) -> bool:
        """Whether the path is a symbolic link, as configs under version control often are."""
        return self.path.is_symlink()

    @property
    def has_backup(self) -> bool:
        """Whether there is a backup next to the file, or might be one in a folder that can't be listed."""
        start = f"{self.path.name}."
        try:
            return any(name.startswith(start) and name.endswith(".bak") for name in os.listdir(self.path.parent))
        except OSError:
            return True

    def _refuse_if_changed(self) -> None:
        if read(self.path).content != self.content:
            raise ConfigError(f"{self.path} was changed by another program in the meantime. Try again.")


def read(path: Path) -> ConfigFile:
    """Read the file.

    Raises:
        ConfigError: The file exists but can't be read.
    """
    try:
        # Don't block on a pipe without a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ConfigError(f"{path} is not a regular file.")
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return ConfigFile(path, None, _NEW_FILE_MODE)
    except OSError:
        raise ConfigError(f"{path} can't be read; check its owner and mode.") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes.")
    return ConfigFile(path, content, stat.S_IMODE(info.st_mode))


def _back_up(path: Path, content: bytes) -> Path:
    """Save a dated backup next to the file, readable only by its owner: configs hold keys of other servers."""
    day = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    for number in range(100):
        more = f"-{number}" if number else ""
        copy = path.with_name(f"{path.name}.{day}{more}.bak")
        try:
            descriptor = make_file(copy, os.O_WRONLY)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return copy
    raise FileExistsError
