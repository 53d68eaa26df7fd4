"""Planted bugs: each removes one protection against duplicate or lost calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from machines_mcp.partner.transport import Attempt
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approval_rows import find
from machines_mcp.permissions.approvals import ApprovalStore
from machines_mcp.permissions.executions import Executions
from machines_mcp.protocol.errors import ToolError
from machines_mcp.protocol.execution import ToolRunner
from machines_mcp.protocol.tool import Completed, Reconciliation
from machines_mcp.storage.database import Store
from machines_mcp.storage.journal import Journal, JournalEntry
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.process_locks import ProcessLocks
from machines_mcp.storage.withdrawals import StartedWithdrawal, Withdrawals
from machines_mcp.tools import reconcile_card_changes, reconcile_cards, reconcile_withdrawals, withdrawal_signature
from machines_mcp.tools.services import ServiceContext
from machines_mcp.tools.withdrawal_output import withdrawal_result

Swap = tuple[Any, str, Any]
PLANTS: dict[str, Callable[[], Sequence[Swap]]] = {}


def _plant(make: Callable[[], Sequence[Swap]]) -> Callable[[], Sequence[Swap]]:
    PLANTS[make.__name__] = make
    return make


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Patch the product with this bug."""
    with ExitStack() as stack:
        for place, attribute, instead in PLANTS[name]():
            stack.enter_context(patch.object(place, attribute, instead))
        yield


@_plant
def no_sync() -> Sequence[Swap]:
    """A commit returns before it is on disk."""
    whole = Store._open

    def opened(self: Store) -> sqlite3.Connection:
        db = whole(self)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    return [(Store, "_open", opened)]


@_plant
def no_key() -> Sequence[Swap]:
    """No idempotency key is sent."""
    whole = Attempt.headers

    def headers(self: Attempt, credential: Any) -> dict[str, str]:
        return {name: value for name, value in whole(self, credential).items() if name != "Idempotency-Key"}

    return [(Attempt, "headers", headers)]


@_plant
def double_consume() -> Sequence[Swap]:
    """A grant is checked and consumed in two transactions."""

    async def consume(self: ApprovalStore, approval: Approval) -> bool:
        fresh = await self.get(approval.id)
        if fresh is None or fresh.state != "granted" or self.is_expired(fresh):
            return False

        def work(db: sqlite3.Connection) -> None:
            if not self._consume(db, approval):
                db.execute("UPDATE approvals SET owner = ? WHERE id = ?", (self.executions.locks.own(), approval.id))
                self._record_change(db, "call", approval.id, "executing")

        await self._store.run(work)
        return True

    return [(ApprovalStore, "consume", consume)]


@_plant
def cap_before_reserve() -> Sequence[Swap]:
    """Limits are checked before the transaction that reserves, not in it, and not when the grant is used."""
    whole = ApprovalStore.open

    async def opened(self: ApprovalStore, call_request: CallRequest, details: ApprovalDetails) -> Approval:
        now, check = self._clock(), vars(self).setdefault("checks_before", self._check_limits)
        await self._store.read(lambda db: check(db, "ask", call_request, details, now, None))
        self._check_limits = lambda *_: None
        return await whole(self, call_request, details)

    return [(ApprovalStore, "open", opened)]


@_plant
def audit_skipped() -> Sequence[Swap]:
    """Consuming a grant is not recorded in the audit log."""
    whole = ApprovalStore._record_change

    def tell(
        self: ApprovalStore, db: sqlite3.Connection, kind: Any, approval_id: str, verdict: str, code: str | None = None
    ) -> None:
        if verdict != "executing":
            whole(self, db, kind, approval_id, verdict, code)

    return [(ApprovalStore, "_record_change", tell)]


@_plant
def journal_after() -> Sequence[Swap]:
    """A mutation is recorded in the journal only after its response."""
    begin, end = Journal.begin, Journal.end
    begun: dict[str, Any] = {}

    async def later(self: Journal, mutation: Any, about: Any = None) -> str:
        begun[str(len(begun))] = mutation, about
        return str(len(begun) - 1)

    async def now(self: Journal, entry_id: str, outcome: Any, **more: Any) -> None:
        await end(self, await begin(self, *begun[entry_id]), outcome, **more)

    return [(Journal, "begin", later), (Journal, "end", now)]


@_plant
def grant_returned_while_unresolved() -> Sequence[Swap]:
    """The grant of an unresolved call may be used again."""

    async def refused(self: ToolRunner, approval: Approval, refusal: ToolError) -> ToolError:
        return await self._return_grant(approval, refusal)

    return [(ToolRunner, "_after_error", refused)]


@_plant
def quote_released_while_unresolved() -> Sequence[Swap]:
    """The quote of an unresolved withdrawal may be used again."""

    async def release(call: ServiceContext, withdrawal_id: Any, error: Exception) -> None:
        await call.services.state.withdrawals.release(withdrawal_id)

    return [(withdrawal_signature, "record_failure", release)]


@_plant
def quote_used_twice() -> Sequence[Swap]:
    """A quote is checked and used in two transactions."""
    whole = Withdrawals.begin

    async def begin(self: Withdrawals, quote: Any, approval_id: str | None) -> Any:
        free = "UPDATE quotes SET used_by = NULL WHERE id = ?"
        await self._store.run(lambda db: db.execute(free, (quote.id,)))
        return await whole(self, quote, approval_id)

    return [(Withdrawals, "begin", begin)]


@_plant
def withdrawal_resent() -> Sequence[Swap]:
    """A withdrawal whose response was lost is sent again."""

    async def again(call: ServiceContext, begun: StartedWithdrawal, entries: Sequence[JournalEntry]) -> Reconciliation:
        terms: Mapping[str, Any] = begun.quote.terms
        answer = await withdrawal_signature.request_signature(call, begun.id, terms)
        return Completed(withdrawal_result(call, begun.id, terms, answer))

    return [(reconcile_withdrawals, "_unanswered", again)]


@_plant
def resent_at_once() -> Sequence[Swap]:
    """A missing card is created again without waiting for requests in flight."""
    modules = (reconcile_cards, reconcile_card_changes)
    return [(module, "time_until_conclusive", lambda call, entry: None) for module in modules]


@_plant
def live_process_taken_for_dead() -> Sequence[Swap]:
    """A call that another process is executing is treated as interrupted."""
    return [(ProcessLocks, "alive", lambda self, owner: False)]


@_plant
def reconciled_by_all() -> Sequence[Swap]:
    """Every process reconciles an interrupted call at the same time."""

    async def take_over(self: Executions, approval_id: str) -> Approval | None:
        found = await self._store.read(lambda db: find(db, ANY_USER, approval_id))
        return found if found is not None and found.state == "executing" and not self.running(found) else None

    return [(Executions, "take_over", take_over)]
