"""Say what is left of each limit of the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.protective import LOCKS, used_locks
from machines_mcp.permissions.usage import ASKS, MUTATIONS, SPENT, TOTAL_ASKS, WAITING, Usage, used
from machines_mcp.storage.principal import Principal

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.permissions.policy import Limits


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit by its path in the policy: the maximum (cents or count), and what is left of it.

    `left` is None if the limit applies per call or card, or per user and the server acts for several.
    """

    limit: str
    most: int
    left: int | None = None


def budgets(
    db: sqlite3.Connection, limits: Limits, principal: Principal, audit_principal: Principal, now: float
) -> tuple[Budget, ...]:
    """Return what the principal's users left of each limit that is set.

    `audit_principal` is the principal by the ids of the audit log. The usage of other users is not counted, because it
    would describe them. The total may have less left.
    """
    return tuple(_budgets(db, limits, principal, audit_principal, now))


def _budgets(
    db: sqlite3.Connection, limits: Limits, principal: Principal, audit_principal: Principal, now: float
) -> Iterator[Budget]:
    yield from _fixed("withdrawals.per_call_cents", limits.per_call_cents)
    yield from _total(db, "withdrawals.per_day_cents", limits.per_day_cents, SPENT, principal, now)
    yield from _of_user(db, "withdrawals.per_user_day_cents", limits.per_user_day_cents, SPENT, principal, now)
    for period, most in (limits.max_limit_cents or {}).items():
        yield from _fixed(f"cards.max_limit_cents.{period}", most)
    yield from _of_user(db, "rates.asks_per_minute", limits.asks_per_minute, ASKS, principal, now)
    yield from _of_user(db, "rates.mutations_per_hour", limits.mutations_per_hour, MUTATIONS, audit_principal, now)
    yield from _fixed("rates.reveals_per_card_per_day", limits.reveals_per_card_per_day)
    yield _rest(
        principal, LOCKS, limits.locks_per_hour, lambda only: used_locks(db, only, audit_principal.only or "", now)
    )
    yield _rest(
        principal,
        "approval.waiting_per_user",
        limits.waiting_per_user,
        lambda only: used(db, WAITING, limits.waiting_per_user, now, user_id=only),
    )
    yield from _total(db, "rates.total.asks_per_minute", limits.total_asks_per_minute, TOTAL_ASKS, principal, now)
    yield from _total(
        db, "rates.total.mutations_per_hour", limits.total_mutations_per_hour, MUTATIONS, audit_principal, now
    )


def _fixed(limit: str, most: int | None) -> Iterator[Budget]:
    if most is not None:
        yield Budget(limit, most)


def _total(
    db: sqlite3.Connection, limit: str, most: int | None, usage: Usage, principal: Principal, now: float
) -> Iterator[Budget]:
    if most is not None:
        yield Budget(limit, most, max(0, most - used(db, usage, most, now, whose=principal)))


def _of_user(
    db: sqlite3.Connection, limit: str, most: int | None, usage: Usage, principal: Principal, now: float
) -> Iterator[Budget]:
    if most is not None:
        yield _rest(principal, limit, most, lambda only: used(db, usage, most, now, user_id=only))


def _rest(principal: Principal, limit: str, most: int, count: Callable[[str], int]) -> Budget:
    """Return what is left of a limit for each user, if the principal has only one."""
    return Budget(limit, most, None if principal.only is None else max(0, most - count(principal.only)))
