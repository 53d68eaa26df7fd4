"""Build the guard of a state folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import ApprovalStore
from machines_mcp.permissions.authorizer import Authorizer
from machines_mcp.permissions.budgets import Budget, budgets
from machines_mcp.permissions.channels import ApprovalChannels
from machines_mcp.permissions.clock import ClockCheck
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.executions import Executions
from machines_mcp.permissions.freezes import Freezes
from machines_mcp.permissions.limits import Stage, exceeded_asks, exceeded_limit
from machines_mcp.permissions.passphrase import Passphrase
from machines_mcp.permissions.passphrase_tries import PassphraseTries
from machines_mcp.permissions.pending import PendingWorkReader
from machines_mcp.permissions.policy import Policy
from machines_mcp.permissions.protective import CANCEL_APPROVAL, LOCKS, WAITING_LOCKS, asked_locks, used_locks
from machines_mcp.permissions.refusals import Refusals
from machines_mcp.permissions.sealed_identity import SealedIdentity
from machines_mcp.storage.audit_log import AuditLog
from machines_mcp.storage.audited_store import AuditedStore
from machines_mcp.storage.database import Store
from machines_mcp.storage.freeze import refuse_if_frozen
from machines_mcp.storage.journal import Journal
from machines_mcp.storage.known_users import KnownUsers
from machines_mcp.storage.principal import Principal
from machines_mcp.storage.process_locks import ProcessLocks
from machines_mcp.storage.state_keys import state_key

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.permissions.approvals import CheckLimits


@dataclass(frozen=True, slots=True)
class Guard:
    """The parts that authorize calls, and the parts that record them."""

    policy: Policy
    principal: Principal
    store: Store
    audit: AuditLog
    passphrase: Passphrase
    locks: ProcessLocks
    journal: Journal
    approvals: ApprovalStore
    channels: ApprovalChannels
    freezes: Freezes
    clock_check: ClockCheck
    authorizer: Authorizer
    pending: PendingWorkReader
    known_users: KnownUsers


def build_guard(
    store: Store,
    policy: Policy,
    principal: Principal,
    *,
    approves_all: bool = False,
    clock: Callable[[], float] = time.time,
) -> Guard:
    """Build the guard of a state folder for the principal's users, and connect its parts.

    Raises:
        StoreUnavailable: The folder's key can't be created or read.
    """
    key = state_key(store.folder, "audit")
    audit = AuditLog(store, key, policy.digest, head_file=policy.head_file, clock=clock)
    audited = AuditedStore(store, audit.append_in, clock)
    audit_principal = cache(lambda: audit.recorded_principal(principal))

    def left(db: sqlite3.Connection) -> tuple[Budget, ...]:
        return budgets(db, policy.limits, principal, audit_principal(), clock())

    locks = ProcessLocks(store.folder)
    passphrase = Passphrase(audited, PassphraseTries(audited))
    identity = SealedIdentity(store, clock)
    approvals = ApprovalStore(
        audited,
        _limit_check(policy, audit),
        Executions(store, locks, principal, clock),
        identity,
        Refusals(audited, identity, principal),
        principal,
        policy_digest=policy.digest,
    )
    channels = ApprovalChannels(approvals, policy, passphrase)
    freezes = Freezes(audited, channels, principal)
    return Guard(
        policy=policy,
        principal=principal,
        store=store,
        audit=audit,
        passphrase=passphrase,
        locks=locks,
        journal=Journal(store, state_key(store.folder, "journal"), locks, principal, clock=clock),
        approvals=approvals,
        channels=channels,
        freezes=freezes,
        clock_check=ClockCheck(audited),
        authorizer=Authorizer(policy, approvals, channels, freezes, audit, principal, approves_all=approves_all),
        pending=PendingWorkReader(store, principal, left, clock),
        known_users=KnownUsers(store, principal, clock),
    )


def _limit_check(policy: Policy, audit: AuditLog) -> CheckLimits:
    """Return the check of a call against the policy's limits, freezes and the rate of locks."""

    def check_limits(
        db: sqlite3.Connection,
        stage: Stage,
        call_request: CallRequest,
        details: ApprovalDetails,
        now: float,
        own: str | None,
    ) -> None:
        user_id, limits, broken = call_request.user_id, policy.limits, None
        if call_request.tool == CANCEL_APPROVAL:
            # Nothing may hold it back. With an id that is no request of ours, it changes nothing.
            return
        if not call_request.protective:
            refuse_if_frozen(db, user_id)
            broken = exceeded_limit(db, stage, policy, call_request, details, now, own, audit.recorded_id)
        elif stage == "wait" and asked_locks(db, user_id, now) >= limits.waiting_per_user:
            broken = WAITING_LOCKS
        elif stage == "ask":
            broken = exceeded_asks(db, policy, call_request, now)
        if broken is None and stage == "admit" and call_request.locks:
            # Nothing else holds the call, so a person can be asked.
            used = used_locks(db, user_id, audit.recorded_id(user_id), now)
            broken = LOCKS if used >= limits.locks_per_hour else None
        if broken is not None:
            raise LimitExceeded(broken)

    return check_limits
