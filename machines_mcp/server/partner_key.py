"""Find the partner key: in the environment, in a file that it names, or where `login` stored it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from machines_mcp.redaction.secret import Secret

KeySource = Literal["environment", "file", "keyring", "login file"]

MAX_KEY_FILE = 4096


class PartnerKeyError(Exception):
    """No usable key was found. The message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key, its source, and the file it was read from, if any."""

    key: Secret
    source: KeySource
    file: Path | None = None


def configured_key(values: Mapping[str, str]) -> FoundKey | None:
    """Return the key from the settings, given directly or as a file. None if neither is set.

    Raises:
        PartnerKeyError: Both are set, or the value is not a valid key.
    """
    direct, file = values.get("MACHINES_PARTNER_KEY"), values.get("MACHINES_PARTNER_KEY_FILE")
    if direct and file:
        raise PartnerKeyError("MACHINES_PARTNER_KEY and MACHINES_PARTNER_KEY_FILE are both set; keep one.")
    if file:
        return FoundKey(parse_key(read_secret_file(Path(file), "MACHINES_PARTNER_KEY_FILE")), "file", Path(file))
    return FoundKey(parse_key(direct), "environment") if direct else None


def stored_key(environment: str) -> FoundKey:
    """Return the key that `machines-mcp login` stored for `sandbox` or `production`.

    Called only if MACHINES_ENV is set and neither key variable is: a stored key alone changes nothing.

    Raises:
        PartnerKeyError: No key is stored, or it can't be read.
    """
    from machines_mcp.server.keyring_store import KeyringUnavailable, key_file, read_keyring

    file = key_file(environment)
    if file.exists():
        return FoundKey(parse_key(read_secret_file(file, str(file))), "login file", file)
    try:
        found = read_keyring(environment)
    except KeyringUnavailable as silent:
        raise PartnerKeyError(
            f"MACHINES_ENV={environment} needs MACHINES_PARTNER_KEY or MACHINES_PARTNER_KEY_FILE, or a key stored by "
            f"machines-mcp login, but {silent}; unlock it."
        ) from None
    if found is None:
        raise PartnerKeyError(
            f"MACHINES_ENV={environment} needs MACHINES_PARTNER_KEY or MACHINES_PARTNER_KEY_FILE; or run "
            f"machines-mcp login {environment} once."
        )
    return FoundKey(parse_key(found.expose()), "keyring")


def parse_key(value: str) -> Secret:
    """Wrap a partner key after checking its format only.

    Raises:
        PartnerKeyError: It has the wrong length or characters.
    """
    if not re.fullmatch(r"[\x21-\x7e]{8,512}", value):
        raise PartnerKeyError("The partner key must be 8 to 512 printable ASCII characters without spaces.")
    return Secret(value)


def read_secret_file(path: Path, name: str) -> str:
    """Return the text of a file that only this user can read. `name` is what names it in an error.

    Raises:
        PartnerKeyError: It can't be read, others can read it, or it is not ASCII text.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise PartnerKeyError(f"{name} is not a regular file.")
        if os.name == "posix" and info.st_mode & 0o077:
            raise PartnerKeyError(f"{name} can be read by other users; run chmod 600 on it.")
        with path.open(encoding="ascii") as file:
            return file.read(MAX_KEY_FILE).strip()
    except UnicodeDecodeError:
        raise PartnerKeyError(f"{name} can't be used: it is not ASCII text.") from None
    except OSError:
        raise PartnerKeyError(f"{name} can't be read; check the path and its permissions.") from None
