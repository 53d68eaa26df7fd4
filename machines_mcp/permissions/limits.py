"""Limits that even an approved call can't exceed: amounts, totals, destinations, rates. Days are UTC.

`refusal` runs twice, each time inside the transaction that changes the row: before an approval is created, and when
its grant is consumed, because other calls may have used up a total meanwhile. Parallel calls can't exceed a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.clock import CLOCK_SET_BACK, is_set_back
from machines_mcp.storage.principal import OF_PRINCIPAL, Principal
from machines_mcp.storage.withdrawals import Destination

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.permissions.policy import Limits, Policy

DAY_SECONDS = 24 * 60 * 60
PER_PAYMENT = "perAuthorization"

# Counts calls that may still happen and calls that began, unless known to have failed. Expired and refused calls don't
# count. A call counts for the day it began, because a grant given before midnight may be used after it.
_COUNTS = (
    "id IS NOT :own AND ((state IN ('waiting', 'granted') AND expires_at > :now)"
    " OR (started_at >= :day AND (state IN ('executing', 'done')"
    " OR (state = 'failed' AND coalesce(json_extract(outcome, '$.code'), 'outcome.unknown') = 'outcome.unknown'))))"
)
_SPENT = (
    "SELECT coalesce(sum(amount_cents), 0) FROM approvals WHERE amount_cents IS NOT NULL"  # noqa: S608
    f" AND {OF_PRINCIPAL} AND {_COUNTS}"
)
_SPENT_BY_USER = f"{_SPENT} AND user_id = :user"
_REVEALS = f"SELECT count(*) FROM approvals WHERE action_class = 'reveal' AND card_id = :card AND {_COUNTS}"  # noqa: S608
_ASKS = (
    "SELECT count(*) FROM approvals WHERE created_at > :now - 60 AND decided_by IS NOT 'policy'"  # noqa: S608
    f" AND {OF_PRINCIPAL}"
)
_MUTATIONS = (
    "SELECT count(*) FROM audit WHERE at > :now - 3600 AND verdict = 'executing' AND action_class <> 'read'"  # noqa: S608
    f" AND {OF_PRINCIPAL}"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit by its path in the policy: the maximum (cents or count), and what is left of it.

    `left` is None if the limit applies per call, or per user or card and none was given.
    """

    limit: str
    most: int
    left: int | None = None


def exceeded_limit(
    db: sqlite3.Connection,
    policy: Policy,
    call_request: CallRequest,
    details: ApprovalDetails,
    now: float,
    own: str | None = None,
) -> str | None:
    """Return the policy path of the first limit the call would exceed, or `clock.set_back`; None if it may run.

    `now` is in seconds since the epoch. `own` is the id of the call's existing approval, which does not count against
    itself. A call allowed without approval is checked once, just before it runs.
    """
    if call_request.action_class is ActionClass.READ:
        return None
    # Closing a card can't be undone, but it protects: a clock must not prevent it.
    if call_request.action_class is not ActionClass.DESTROY and is_set_back(db, now):
        return CLOCK_SET_BACK
    limits = policy.limits
    return (
        _card_limit(limits, details)
        or _destination(limits, details)
        or _sums(db, limits, call_request, details, now, own)
        or _reveal(db, policy, call_request, details, now, own)
        or _rates(db, policy, call_request, now, own)
    )


def budgets(
    db: sqlite3.Connection, policy: Policy, principal: Principal, recorded: Principal, now: float
) -> tuple[Budget, ...]:
    """Return what the principal's users leave of each limit that the policy sets. Other users may leave less of a
    total. `recorded` is the principal by the ids in the audit log.
    """
    limits, found = policy.limits, []
    if limits.per_call_cents is not None:
        found.append(Budget("withdrawals.per_call_cents", limits.per_call_cents))
    if limits.per_day_cents is not None:
        found.append(_left("withdrawals.per_day_cents", limits.per_day_cents, _one(db, _SPENT, now, **principal.bound)))
    if limits.per_user_day_cents is not None:
        spent = None if principal.pinned is None else _one(db, _SPENT_BY_USER, now, user=principal.pinned)
        found.append(_left("withdrawals.per_user_day_cents", limits.per_user_day_cents, spent))
    for period, most in (limits.max_limit_cents or {}).items():
        found.append(Budget(f"cards.max_limit_cents.{period}", most))
    for name, most_times, query in _rate_table(limits):
        users = recorded if query is _MUTATIONS else principal
        found.append(_left(f"rates.{name}", most_times, _one(db, query, now, **users.bound)))
    if limits.reveals_per_card_per_day is not None:
        found.append(Budget("rates.reveals_per_card_per_day", limits.reveals_per_card_per_day))
    return tuple(found)


def _left(limit: str, most: int, used: int | None) -> Budget:
    return Budget(limit, most, None if used is None else max(0, most - used))


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
    if wanted is not None and _plain(wanted) in {_plain(place) for place in limits.destinations}:
        return None
    return "withdrawals.destinations"


def _plain(place: Destination) -> tuple[str, ...]:
    """Return a comparable form: ticker, network and hex address ignore case, the rest is exact, as in the API."""
    address = place.address.lower() if place.address[:2] in ("0x", "0X") else place.address
    return place.currency.lower(), place.network.lower(), address, place.extra_id or ""


def _sums(
    db: sqlite3.Connection,
    limits: Limits,
    call_request: CallRequest,
    details: ApprovalDetails,
    now: float,
    own: str | None,
) -> str | None:
    amount = details.amount_cents
    if amount is None:
        return None
    if limits.per_call_cents is not None and amount > limits.per_call_cents:
        return "withdrawals.per_call_cents"
    if limits.per_day_cents is not None and _spent(db, now, own) + amount > limits.per_day_cents:
        return "withdrawals.per_day_cents"
    if (
        limits.per_user_day_cents is not None
        and _spent(db, now, own, call_request.user_id) + amount > limits.per_user_day_cents
    ):
        return "withdrawals.per_user_day_cents"
    return None


def _spent(db: sqlite3.Connection, now: float, own: str | None = None, user_id: str | None = None) -> int:
    """Return the cents that left today or still may."""
    return _one(db, _SPENT if user_id is None else _SPENT_BY_USER, now, own=own, user=user_id)


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
    most = policy.limits.reveals_per_card_per_day
    if most is not None and _one(db, _REVEALS, now, own=own, card=details.card_id) >= most:
        return "rates.reveals_per_card_per_day"
    return None


def _rate_table(limits: Limits) -> list[tuple[str, int, str]]:
    table = (
        ("asks_per_minute", limits.asks_per_minute, _ASKS),
        ("mutations_per_hour", limits.mutations_per_hour, _MUTATIONS),
    )
    return [(name, most, query) for name, most, query in table if most is not None]


def _rates(
    db: sqlite3.Connection, policy: Policy, call_request: CallRequest, now: float, own: str | None
) -> str | None:
    # Nobody is asked if the approval exists already or the policy allows the call.
    asks = own is None and policy.rule(call_request.action_class, call_request.tool) == "ask"
    for name, most, query in _rate_table(policy.limits):
        if (asks or query is not _ASKS) and _one(db, query, now) >= most:
            return f"rates.{name}"
    return None


def _one(db: sqlite3.Connection, query: str, now: float, **values: object) -> int:
    day = now - now % DAY_SECONDS
    given = {"own": None, "user": None, "card": None, "principal": None} | values
    return int(db.execute(query, given | {"now": now, "day": day}).fetchone()[0])
