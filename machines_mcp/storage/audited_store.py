"""The store of a state folder, and how each of its changes is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.storage.database import Store

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class AuditedStore:
    """A store whose changes are in the audit log. Times are seconds since the epoch by `clock`.

    `record` writes an audit entry inside the caller's transaction.
    """

    store: Store
    record: Callable[[sqlite3.Connection, AuditEntry], None]
    clock: Callable[[], float] = time.time
