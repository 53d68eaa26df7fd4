"""A client's config as a file: read whole, kept beside before it is changed, and replaced in one step."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from machines_mcp.cli.client_configs.errors import ConfigFault

MOST_BYTES = 64 * 1024 * 1024
_NEW = 0o600


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What stood there when it was read; `content` is None where there was no file."""

    path: Path
    content: bytes | None
    mode: int

    @property
    def text(self) -> str:
        """What it holds; nothing where it is not there.

        Raises:
            ConfigFault: It is not UTF-8.
        """
        content = self.content or b""
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ConfigFault(f"{self.path}, line {line}: it is not UTF-8, so nothing was changed.") from None

    def replace(self, text: str) -> Path | None:
        """Put `text` in its place, in one step; where the copy of what stood there is, if anything did.

        Raises:
            ConfigFault: It can't be written, or was changed meanwhile.
        """
        try:
            target = Path(os.path.realpath(self.path))
            target.parent.mkdir(parents=True, exist_ok=True)
            backup = None if self.content is None else _keep(self.path, self.content)
            if read(self.path).content != self.content:
                raise ConfigFault(f"{self.path} was changed by another program at this moment; try again.")
            write_in_one_step(target, text.encode(), self.mode)
        except OSError:
            raise ConfigFault(f"{self.path} can't be written; check its owner and free space.") from None
        return backup


def read(path: Path) -> ConfigFile:
    """The file as it is now.

    Raises:
        ConfigFault: It is there and can't be read.
    """
    try:
        # Not to wait for the writer of a pipe.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ConfigFault(f"{path} is not a file.")
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return ConfigFile(path, None, _NEW)
    except OSError:
        raise ConfigFault(f"{path} can't be read; check its owner and mode.") from None
    if len(content) > MOST_BYTES:
        raise ConfigFault(f"{path} is larger than {MOST_BYTES} bytes.")
    return ConfigFile(path, content, stat.S_IMODE(info.st_mode))


def write_in_one_step(path: Path, content: bytes, mode: int) -> None:
    """Replace the file: who reads it meanwhile sees the old one or the new one.

    Raises:
        OSError: It can't be written; the old one is still there.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _keep(path: Path, content: bytes) -> Path:
    """A dated copy beside it, for its owner alone: configs hold keys of other servers."""
    day = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    for number in range(100):
        more = f"-{number}" if number else ""
        copy = path.with_name(f"{path.name}.{day}{more}.bak")
        try:
            descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return copy
    raise FileExistsError
