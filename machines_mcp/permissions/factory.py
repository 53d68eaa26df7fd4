"""The guard's parts over one state folder, wired to each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.approvals import Intents
from machines_mcp.permissions.authorizer import Gate
from machines_mcp.permissions.channels import Ways
from machines_mcp.permissions.executions import Executions
from machines_mcp.permissions.limits import refusal
from machines_mcp.permissions.passphrase import Passphrase
from machines_mcp.permissions.policy import Policy
from machines_mcp.storage.audit_log import Audit
from machines_mcp.storage.database import Store
from machines_mcp.storage.journal import Journal
from machines_mcp.storage.process_locks import Owners
from machines_mcp.storage.state_keys import state_key

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class Guard:
    """What decides, and what remembers it."""

    policy: Policy
    store: Store
    audit: Audit
    passphrase: Passphrase
    owners: Owners
    journal: Journal
    intents: Intents
    ways: Ways
    gate: Gate


def wire_guard(
    store: Store, policy: Policy, *, standing_yes: bool = False, clock: Callable[[], float] = time.time
) -> Guard:
    """The guard of a state folder.

    Raises:
        StoreUnavailable: The folder's key can't be made or read.
    """
    key = state_key(store.folder, "audit")
    audit = Audit(store, key, policy.digest, head_file=policy.head_file, clock=clock)
    passphrase = Passphrase(store, audit.append_in, clock)

    def limit(db: sqlite3.Connection, demand: Demand, stakes: Stakes, now: float, own: str | None) -> str | None:
        return refusal(db, policy, demand, stakes, now, own)

    owners = Owners(store.folder)
    journal = Journal(store, state_key(store.folder, "journal"), owners, clock=clock)
    executions = Executions(store, owners, clock)
    intents = Intents(store, audit.append_in, limit, executions, policy_digest=policy.digest, clock=clock)
    ways = Ways(intents, policy, passphrase)
    gate = Gate(policy, intents, ways, audit, standing_yes=standing_yes)
    return Guard(policy, store, audit, passphrase, owners, journal, intents, ways, gate)
