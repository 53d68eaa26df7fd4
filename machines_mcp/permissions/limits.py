"""Limits that even an approved call can't exceed: amounts, totals, destinations, rates. Days are UTC.

`exceeded_limit` runs inside the transaction that changes the row: before an approval is created (`wait`, `ask`), when
it is granted, and when the grant is used. Other calls may have used up a total in between. Parallel calls can't exceed
a limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.clock import CLOCK_SET_BACK, is_set_back
from machines_mcp.permissions.destinations import normal_destination
from machines_mcp.permissions.usage import (
    ASKS,
    LOCK_ASKS,
    MUTATIONS,
    REVEALS,
    SPENT,
    TOTAL_ASKS,
    VERIFICATIONS,
    WAITING,
    Usage,
    used,
)

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.permissions.policy import Limits, Policy

Stage = Literal["admit", "wait", "ask", "allow", "grant", "use"]
"""When limits are checked: `admit` before a call that asks nobody, `wait` before `ask` if a person decides, `allow` if
the approval exists before anybody is asked. A grant reserves money, so only totals can block it."""

UNCOUNTED = frozenset({"cards.unbounded", "withdrawals.destinations", "reveal.sinks"})
"""Limits that have no remainder. `budgets` shows every other one."""
PER_PAYMENT = "perAuthorization"


def exceeded_limit(
    db: sqlite3.Connection,
    stage: Stage,
    policy: Policy,
    call_request: CallRequest,
    details: ApprovalDetails,
    now: float,
    own: str | None,
    audit_id: Callable[[str], str],
) -> str | None:
    """Return the policy path of the first limit the call would exceed, or `clock.set_back`; None if it may run.

    `now` is in seconds since the epoch. `own` is the id of the call's existing approval, which does not count against
    itself. `audit_id` returns an id as the audit log has it. A call allowed without approval is checked once, just
    before it runs, as at `allow`.
    """
    if stage == "wait":
        waiting = used(db, WAITING, most := policy.limits.waiting_per_user, now, user_id=call_request.user_id)
        return "approval.waiting_per_user" if waiting >= most else None
    if call_request.action_class is ActionClass.READ:
        broken = _verification(db, policy, details, now, audit_id) if details.sink == "none" else None
        return broken or (exceeded_asks(db, policy, call_request, now) if stage == "ask" else None)
    if stage == "grant":
        return _sums(db, policy.limits, call_request, details, now, own)
    # Closing a card can't be undone, but it protects: a clock must not prevent it.
    if call_request.action_class is not ActionClass.DESTROY and is_set_back(db, now):
        return CLOCK_SET_BACK
    limits = policy.limits
    return (
        _card_limit(limits, details)
        or _destination(limits, details)
        or _sums(db, limits, call_request, details, now, own)
        or _reveal(db, policy, call_request, details, now, own)
        or (exceeded_asks(db, policy, call_request, now) if stage == "ask" else None)
        # Changes that the agent made must not keep a person from undoing its locks at the desk.
        or (None if details.only == "desk" else _changes(db, limits, now, audit_id(call_request.user_id)))
    )


def _card_limit(limits: Limits, details: ApprovalDetails) -> str | None:
    if not details.limits_card:
        return None
    period, cents = details.limit_frequency, details.limit_cents
    if cents is None or period is None or period == PER_PAYMENT:
        if not limits.unbounded_cards:
            return "cards.unbounded"
        if cents is None or period is None or period not in (limits.max_limit_cents or {}):
            return None
    if limits.max_limit_cents is not None and cents > limits.max_limit_cents.get(period, 0):
        return f"cards.max_limit_cents.{period}"
    return None


def _destination(limits: Limits, details: ApprovalDetails) -> str | None:
    if details.amount_cents is None or limits.destinations is None:
        return None
    wanted = details.destination
    if wanted is not None and normal_destination(wanted) in map(normal_destination, limits.destinations):
        return None
    return "withdrawals.destinations"


def _sums(
    db: sqlite3.Connection,
    limits: Limits,
    call_request: CallRequest,
    details: ApprovalDetails,
    now: float,
    own: str | None,
) -> str | None:
    amount, user_id = details.amount_cents, call_request.user_id
    if amount is None:
        return None
    if limits.per_call_cents is not None and amount > limits.per_call_cents:
        return "withdrawals.per_call_cents"
    # A waiting approval takes nothing from other users, and nothing from those of its own user that a person grants.
    asked = own is None
    for limit, most, whose in (
        ("withdrawals.per_day_cents", limits.per_day_cents, None),
        ("withdrawals.per_user_day_cents", limits.per_user_day_cents, user_id),
    ):
        if most is not None:
            spent = used(db, SPENT, most, now, user_id=whose, waiting=asked, asker=user_id, own=own)
            if spent + amount > most:
                return limit
    return None


def _verification(
    db: sqlite3.Connection, policy: Policy, details: ApprovalDetails, now: float, audit_id: Callable[[str], str]
) -> str | None:
    # Counted apart from the reveals that show a card, so that a model can't use those up.
    most = policy.limits.reveals_per_card_per_day
    if most is not None and used(db, VERIFICATIONS, most, now, card_id=audit_id(details.card_id or "")) >= most:
        return "rates.reveals_per_card_per_day"
    return None


def _reveal(
    db: sqlite3.Connection,
    policy: Policy,
    call_request: CallRequest,
    details: ApprovalDetails,
    now: float,
    own: str | None,
) -> str | None:
    if call_request.action_class is not ActionClass.REVEAL:
        return None
    if details.sink is not None and details.sink not in policy.sinks:
        return "reveal.sinks"
    most, user_id = policy.limits.reveals_per_card_per_day, call_request.user_id
    if most is None:
        return None
    shown = used(db, REVEALS, most, now, user_id=user_id, card_id=details.card_id, waiting=own is None, own=own)
    return "rates.reveals_per_card_per_day" if shown >= most else None


def exceeded_asks(db: sqlite3.Connection, policy: Policy, call_request: CallRequest, now: float) -> str | None:
    """Return the policy path of the rate that forbids to ask a person about one more call now; None if none does."""
    limits, user_id = policy.limits, call_request.user_id
    usage = ASKS
    if call_request.protective and policy.rule(call_request.action_class, call_request.tool) == "ask":
        # Every lock asks, so other requests must not use up those of locks.
        usage = LOCK_ASKS
    if _at_least(limits.asks_per_minute, db, usage, now, user_id):
        return "rates.asks_per_minute"
    # Other users' requests hold no lock.
    if not call_request.protective and _at_least(limits.total_asks_per_minute, db, TOTAL_ASKS, now, None):
        return "rates.total.asks_per_minute"
    return None


def _changes(db: sqlite3.Connection, limits: Limits, now: float, audit_user_id: str) -> str | None:
    if _at_least(limits.mutations_per_hour, db, MUTATIONS, now, audit_user_id):
        return "rates.mutations_per_hour"
    if _at_least(limits.total_mutations_per_hour, db, MUTATIONS, now, None):
        return "rates.total.mutations_per_hour"
    return None


def _at_least(most: int | None, db: sqlite3.Connection, usage: Usage, now: float, user_id: str | None) -> bool:
    return most is not None and used(db, usage, most, now, user_id=user_id) >= most
