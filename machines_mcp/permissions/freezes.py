"""Freeze and unfreeze the changes of a state folder. Freezing takes no passphrase, lifting it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from machines_mcp.permissions.channels import ApprovalChannels
from machines_mcp.permissions.decision import Decision
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.storage.audited_store import AuditedStore
from machines_mcp.storage.freeze import (
    EVERYONE,
    Freeze,
    delete_freeze,
    freezes,
    insert_freeze,
    is_frozen,
    refuse_if_frozen,
)

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.principal import Principal

FreezeChannel: TypeAlias = Literal["desk", "terminal"]


class Freezes:
    """The freezes of one state folder.

    The methods raise `StoreUnavailable` if the state folder can't be used.
    """

    def __init__(
        self,
        audited: AuditedStore,
        channels: ApprovalChannels,
        principal: Principal,
    ) -> None:
        self._store, self._record, self._clock = audited.store, audited.record, audited.clock
        self._channels = channels
        self._principal = principal

    async def refuse(self, user_id: str) -> None:
        """Refuse a change for this user early, before anything is sent for it.

        Raises:
            Frozen: The changes of this user, or of all users, are frozen.
        """
        await self._store.read(lambda db: refuse_if_frozen(db, user_id))

    async def all(self) -> list[Freeze]:
        """Return the freezes of everyone and of the principal's users: first the one for everyone, then the newest."""
        return await self._store.read(lambda db: freezes(db, self._principal))

    async def frozen(self, user_id: str) -> bool:
        """Return whether there is a freeze of this user or, if empty, of everyone."""
        return await self._store.read(lambda db: is_frozen(db, user_id))

    async def freeze(self, by: FreezeChannel, user_id: str = EVERYONE) -> bool:
        """Freeze the changes of one user, or of all. Returns False if they are frozen already."""
        freeze = Freeze(user_id, self._clock(), by)

        def work(db: sqlite3.Connection) -> bool:
            frozen = insert_freeze(db, freeze)
            if frozen:
                self._record(db, _entry("frozen", by, user_id))
            return frozen

        return await self._store.run(work)

    async def lift(self, by: FreezeChannel, passphrase: Secret | None, user_id: str = EVERYONE) -> Decision:
        """Lift one freeze with the passphrase (none is needed in `embedded`). `gone`: there is none."""

        def work(db: sqlite3.Connection) -> bool:
            lifted = delete_freeze(db, user_id)
            if lifted:
                self._record(db, _entry("unfrozen", by, user_id))
            return lifted

        decision = await self._channels.check_passphrase(passphrase, by)
        if decision != "granted":
            return decision
        return "granted" if await self._store.run(work) else "gone"


def _entry(code: str, by: FreezeChannel, user_id: str) -> AuditEntry:
    return AuditEntry("setting", user_id=user_id or None, code=code, by=by)
