"""The person's passphrase, which tells a person from a program that can also press a button.

Only a scrypt verifier (RFC 7914) is stored, in the state folder's `keys`, mode 0600.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Literal

import anyio.to_thread

from machines_mcp.permissions.passphrase_tries import PassphrasePlace, PassphraseTries
from machines_mcp.redaction.scrypt import KEY_BYTES, N, derive_key, has_key
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.storage.audited_store import AuditedStore
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.files import write_atomically
from machines_mcp.storage.private_folder import NotPrivate, check_private, private_folder

MIN_LENGTH = 8
MAX_LENGTH = 200
APPROVALS_DISABLED = "No passphrase is set, so approvals are disabled. Run `machines-mcp passphrase`."

_N = N
_SALT_BYTES = 16
_HEX = {"salt": 2 * _SALT_BYTES, "key": 2 * KEY_BYTES}

PassphraseResult = Literal["right", "wrong", "delayed", "unset"]
"""`delayed`: after a wrong try, the next one must wait. Not even the right passphrase was checked."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks a passphrase without storing it. `set_at` is in seconds since the epoch."""

    salt: str
    key: str
    set_at: float

    def matches(self, passphrase: Secret) -> bool:
        """Return whether this is the passphrase. Takes about 0.1 s: don't call it on the event loop."""
        return has_key(passphrase, self.salt, self.key, n=_N)


class Passphrase:
    """The passphrase of one state folder."""

    def __init__(
        self,
        audited: AuditedStore,
        tries: PassphraseTries,
    ) -> None:
        self._store, self._record, self._clock = audited.store, audited.record, audited.clock
        self.tries = tries
        self.path = audited.store.folder / "keys" / "passphrase.json"
        """The path of the verifier file."""

    async def is_set(self) -> bool:
        """Return whether a passphrase is set.

        Raises:
            StoreUnavailable: The file can't be read or is not a verifier.
        """
        return await self.verifier() is not None

    async def verifier(self) -> Verifier | None:
        """Return the verifier, or None if no passphrase is set.

        Raises:
            StoreUnavailable: The file can't be read or is not a verifier.
        """
        return await anyio.to_thread.run_sync(self.read_verifier)

    def read_verifier(self) -> Verifier | None:
        """Return `verifier` to a caller without an event loop.

        Raises:
            StoreUnavailable: The file can't be read or is not a verifier.
        """
        try:
            check_private(self.path)
            return _verifier(json.loads(self.path.read_text(encoding="ascii")))
        except FileNotFoundError:
            return None
        except NotPrivate as error:
            raise StoreUnavailable(f"The passphrase file can't be used. {error}") from None
        except (OSError, ValueError, TypeError, RecursionError):
            raise StoreUnavailable(
                f"The passphrase file can't be read or is damaged: {self.path}. Nothing can be approved or refused."
                " Remove the file, then set a new passphrase with machines-mcp passphrase."
            ) from None

    async def check(self, passphrase: Secret, place: PassphrasePlace) -> PassphraseResult:
        """Check the passphrase, one try at a time for each place, across processes.

        Raises:
            StoreUnavailable: The verifier can't be read or the try can't be counted. Nothing may be decided then.
        """
        verifier = await self.verifier()
        if verifier is None:
            return "unset"
        if await self.tries.begin(place) > 0:
            return "delayed"
        right = await anyio.to_thread.run_sync(verifier.matches, passphrase)
        await self.tries.end(place, right=right)
        return "right" if right else "wrong"

    async def set(self, passphrase: Secret, old: Secret | None = None) -> PassphraseResult:
        """Store a verifier of this passphrase. Returns `right`, or why the `old` passphrase was not accepted.

        Raises:
            ValueError: It is shorter than 8 or longer than 200 characters.
            StoreUnavailable: The audit entry or the verifier can't be written.
        """
        if not MIN_LENGTH <= len(passphrase.expose()) <= MAX_LENGTH:
            raise ValueError(f"a passphrase must have {MIN_LENGTH} to {MAX_LENGTH} characters")
        before = await self._permission_to_set(old)
        if before not in ("right", "unset"):
            return before
        said = AuditEntry(
            kind="setting", code="passphrase", verdict="set" if before == "unset" else "changed", by="terminal"
        )
        salt = secrets.token_bytes(_SALT_BYTES)
        key = await anyio.to_thread.run_sync(lambda: derive_key(passphrase, salt, n=_N))
        fields = {"salt": salt.hex(), "key": key.hex(), "set_at": self._clock()}
        await self._store.run(lambda db: self._record(db, said))
        try:
            private_folder(self.path.parent)
            write_atomically(self.path, json.dumps(fields).encode("ascii"))
        except OSError:
            raise StoreUnavailable from None
        return "right"

    async def _permission_to_set(self, old: Secret | None) -> PassphraseResult:
        if old is None:
            # Nobody typed one, so this is no try.
            return "wrong" if await self.is_set() else "unset"
        return await self.check(old, "terminal")


def _verifier(fields: object) -> Verifier:
    """Return the verifier from the file's fields.

    Raises:
        ValueError: The fields are not a verifier.
    """
    if not isinstance(fields, dict) or fields.keys() != {"salt", "key", "set_at"}:
        raise ValueError
    for name, length in _HEX.items():
        if not isinstance(fields[name], str) or len(bytes.fromhex(fields[name])) * 2 != length:
            raise ValueError
    if isinstance(fields["set_at"], bool) or not isinstance(fields["set_at"], int | float):
        raise ValueError
    return Verifier(fields["salt"], fields["key"], float(fields["set_at"]))
