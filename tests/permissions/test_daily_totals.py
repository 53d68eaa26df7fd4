"""Totals paid out per day."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.daily_totals import DailyTotal, daily_totals
from machines_mcp.permissions.factory import Guard
from machines_mcp.permissions.usage import DAY_SECONDS, MAY_HAVE_HAPPENED
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock
from tests.support.older_folder import before_migration

pytestmark = pytest.mark.anyio


async def paid(guard: Guard, cents: int, outcome: str | None, *, ok: bool = True) -> None:
    details = ApprovalDetails(question="?", amount_cents=cents)
    approval = await guard.approvals.open(CallRequest("create_withdrawal", ActionClass.MONEY, "u", str(cents)), details)
    await guard.approvals.grant(approval.id, "desk")
    await guard.approvals.consume(approval)
    if outcome is not None:
        await guard.approvals.finish(approval.id, outcome, ok=ok, code="x")


async def test_possible_payments_count_for_their_day_and_pending_ones_for_today(guard: Guard, clock: Clock) -> None:
    clock.now = 20_000 * DAY_SECONDS + 10.0
    await paid(guard, 100, "{}")
    await paid(guard, 20, None)  # begun, outcome unknown
    await paid(guard, 3, '{"code": "outcome.unknown"}', ok=False)
    await paid(guard, 4, '{"code": "output.blocked"}', ok=False)
    await paid(guard, 1_000, '{"code": "partner.rejected"}', ok=False)  # known not to have left
    clock.advance(2 * DAY_SECONDS)
    await paid(guard, 7, "{}")
    waits = CallRequest("create_withdrawal", ActionClass.MONEY, "u", "waits")
    await guard.approvals.open(waits, ApprovalDetails(question="?", amount_cents=50_000))
    found = await guard.store.read(lambda db: daily_totals(db, ANY_USER, clock.now, 4))
    first = 19_999 * DAY_SECONDS
    assert found == [
        DailyTotal(first, 0),
        DailyTotal(first + DAY_SECONDS, 127),
        DailyTotal(first + 2 * DAY_SECONDS, 0),
        DailyTotal(first + 3 * DAY_SECONDS, 7, 50_000),
    ]
    clock.advance(16 * 60)
    assert (await guard.store.read(lambda db: daily_totals(db, ANY_USER, clock.now, 1)))[0].open_cents == 0


_CREATED = (
    "INSERT INTO approvals (id, tool, action_class, user_id, digest, question, state, created_at, expires_at,"
    " started_at, amount_cents, outcome) VALUES (?, 't', 'money', ?, '', '', ?, 0, 0, ?, ?, ?)"
)
_STATES = ("waiting", "granted", "executing", "done", "failed", "refused")
_OUTCOMES = (None, "{}", '{"code": "outcome.unknown"}', '{"code": "partner.rejected"}', "{broken")
_CHANGES = (
    "UPDATE approvals SET state = :state WHERE id = :id",
    "UPDATE approvals SET outcome = :outcome WHERE id = :id",
    "UPDATE approvals SET started_at = :started WHERE id = :id",
    "UPDATE approvals SET amount_cents = :cents WHERE id = :id",
    "UPDATE approvals SET user_id = :user WHERE id = :id",
    "UPDATE approvals SET user_id = :user, state = :state, started_at = :started",
    "DELETE FROM approvals WHERE id = :id",
)


def _random_row(chosen: random.Random) -> dict[str, Any]:
    return {
        "id": str(chosen.randrange(12)),
        "user": chosen.choice(("", "ann", "bob")),
        "state": chosen.choice(_STATES),
        "started": chosen.choice((None, 0.0, 86_399.5, 86_400.0, 3.5 * 86_400)),
        "cents": chosen.choice((None, 1, 250, 10_000)),
        "outcome": chosen.choice(_OUTCOMES),
    }


def _added_up(db: sqlite3.Connection, columns: str) -> dict[Any, int]:
    """Add up the payouts by these columns, without the totals."""
    ran = f"state IN ('executing', 'done') OR (state = 'failed' AND {MAY_HAVE_HAPPENED})"
    query = (
        f"SELECT {columns}, sum(amount_cents) FROM (SELECT *, CAST(started_at / 86400 AS INTEGER) AS day"  # noqa: S608
        f" FROM approvals) WHERE started_at IS NOT NULL AND amount_cents IS NOT NULL AND ({ran}) GROUP BY {columns}"
    )
    return {tuple(key): cents for *key, cents in db.execute(query)}


def _stored(db: sqlite3.Connection, table: str, columns: str) -> dict[Any, int]:
    query = f"SELECT {columns}, cents FROM {table} WHERE cents <> 0"  # noqa: S608
    return {tuple(key): cents for *key, cents in db.execute(query)}


@pytest.mark.parametrize("seed", range(10))
def test_totals_follow_every_change_of_an_approval(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)  # noqa: S311
    with before_migration("daily_totals", tmp_path) as db:
        for number in range(6):
            row = _random_row(chosen)
            db.execute(_CREATED, (str(number), row["user"], row["state"], row["started"], row["cents"], row["outcome"]))
    db = Store(tmp_path)._open()
    for number in range(6, 60):
        row = _random_row(chosen)
        if number < 12:
            db.execute(_CREATED, (str(number), row["user"], row["state"], row["started"], row["cents"], row["outcome"]))
        else:
            db.execute(chosen.choice(_CHANGES), row)
        assert _stored(db, "daily_totals", "day") == _added_up(db, "day")
        assert _stored(db, "user_daily_totals", "user_id, day") == _added_up(db, "user_id, day")
        # A forgotten user is in no row.
        assert db.execute("SELECT 1 FROM user_daily_totals WHERE cents = 0").fetchone() is None
    db.close()


async def test_total_is_rolled_back_with_its_approval(guard: Guard, clock: Clock) -> None:
    await paid(guard, 100, "{}")

    def fails(db: sqlite3.Connection) -> None:
        db.execute("UPDATE approvals SET amount_cents = 7000")
        raise LookupError

    with pytest.raises(LookupError):
        await guard.store.run(fails)
    assert (await guard.store.read(lambda db: daily_totals(db, ANY_USER, clock.now, 1)))[0].cents == 100
