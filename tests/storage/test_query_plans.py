"""No statement of a call reads rows that only grow in number: each finds its rows by an index.

One walk executes every statement of the package. SQLite's plan of each is read, and its cost compared between a small
and a large database.
"""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fill import fill_state
from machines_mcp.cli.forget import forget_user
from machines_mcp.cli.prune import prune
from machines_mcp.partner.mutation_log import Mutation
from machines_mcp.permissions import usage
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.factory import Guard
from machines_mcp.permissions.protective import asked_locks
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.audit_checkpoint import Checkpoint, holds
from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.storage.card_changes import AlreadyUndone, claim_undo, locks_since
from machines_mcp.storage.database import Store
from machines_mcp.storage.journal_entry import has_open_work
from machines_mcp.storage.transactions import Transactions
from machines_mcp.storage.withdrawals import Withdrawals
from machines_mcp.tools import services
from tests.support.interrupted import lose_response, unresolved_call
from tests.support.running_desk import PASSPHRASE, browser, identity_form, running_desk, withdrawal
from tests.support.statements import Statement, Statements, places, recorded
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_withdrawals import ADDRESS, funded

pytestmark = pytest.mark.anyio

USER, GONE = "tool-user", "user-to-forget"
POLICY = """version = 1
environment = "embedded"
[classes]
write = "allow"
identity = "ask"
consent = "ask"
money = "ask"
destroy = "ask"
reveal = "ask"

[withdrawals]
per_call_cents = 100_000
per_day_cents = 10_000_000
per_user_day_cents = 1_000_000

destinations = "any"

[cards]
unbounded = true

[rates]
asks_per_minute = 100
mutations_per_hour = 100
reveals_per_card_per_day = 50

[rates.total]
asks_per_minute = 200
mutations_per_hour = 200
"""
GROWING = {
    "approvals", "audit", "audit_forgotten", "audit_pruned", "known_users", "mutations", "quotes",
    "transactions", "user_daily_totals", "withdrawals",
}  # fmt: skip
SMALL = {
    "daily_totals": "a row for each day",
    "freezes": "a row for each user whom a person froze, and every one is shown",
    "passphrase_tries": "a row for each place where a passphrase is typed",
    "clock_rebases": "a row each time the operator confirmed the clock",
}
OPEN_WORK = {
    "approvals_sealed": "holds the approvals with identity data, which is erased within 20 minutes",
    "transactions_open": "holds those that wait for a wallet or a receipt, until a day after their signature expired",
    "withdrawals_open": "holds the withdrawals without a final status, and every one is shown",
}
"""Partial indexes that may be read whole."""
EXEMPT = {
    "storage.audit_chain.": "verifies every row, for an operator's command",
    "storage.audit_pruning.": "an operator's command",
    "storage.audit_forgetting.": "an operator's command",
    "permissions.forgetting.": "an operator's command",
    "storage.withdrawals.prune_quotes": "an operator's command",
    "cli.prune.": "an operator's command",
    "permissions.clock._end_at": "an operator's command, after the clock was ahead",
    "permissions.clock.newest_time": "ends at the first row that was not written by a clock ahead of time",
    "permissions.approval_rows.newest_approvals": "ends at its limit, by an index in that order",
    "storage.audit_log.AuditLog.rows.work": "a page: ends at its limit, by number",
    "storage.known_users._newest": "list_users returns how many there are",
}

PAGES = {
    "permissions.clock.newest_time",
    "permissions.approval_rows.newest_approvals",
    "storage.audit_log.AuditLog.rows.work",
}
"""Of these, the ones that read no more rows if there are more."""


async def walk(folder: Path) -> None:
    """Execute every statement: all tools, the desk, the operator's commands, and calls that are cut short."""
    policy = folder / "policy.toml"
    policy.write_text(f'{POLICY}\n[audit]\nhead_file = "{folder / "head"}"\n', encoding="utf-8")
    async with caller(folder, USER, policy=policy) as c:
        await journey(c)
        await interruptions(c, folder)
    await desk(folder / "desk")
    await operator(folder, policy)


async def journey(c: ToolCaller) -> None:
    for tool in ("status", "resolve_user", "get_kyc_requirements", "get_kyc_status", "get_agreements"):
        await c.call(tool)
    await funded(c, 1_000)
    for tool in ("list_users", "list_deposits", "get_balances", "list_transactions", "list_withdrawals"):
        await c.call(tool)
    card = (await c.call("create_card", label="First"))["card_id"]
    await c.call("update_card", card_id=card, status="locked")
    await c.call("update_card", card_id=card, status="active")
    quote = await c.call("quote_withdrawal", amount_cents=500, currency="rusd", network="base", address=ADDRESS)
    made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
    assert made["status"] == "ready"
    assert (await c.call("list_withdrawals"))["withdrawals_total"] == 1
    known = {"withdrawal_id": made["withdrawal_id"]}
    signing = await c.call("get_withdrawal_transaction", **known, admin_nonce="0")
    assert signing["stage"] == "sign"
    await c.call("confirm_withdrawal", **known, transaction_hash="0x" + "ab" * 32)
    await transactions(c, made["withdrawal_id"])
    await c.call("close_card", card_id=card)


async def transactions(c: ToolCaller, withdrawal_id: str) -> None:
    """Record what a node of the chain would show, and a signed withdrawal of an older version."""
    store = Store(c.state_dir / "embedded")
    known = Transactions(store)
    await known.take_back(withdrawal_id, "0x01")
    await known.done(withdrawal_id, "0x" + "ab" * 32, 7)
    await known.begin(withdrawal_id, time.time())
    await store.close()


async def interruptions(c: ToolCaller, folder: Path) -> None:
    for path, tool, arguments in (
        ("/cards", "create_card", {"label": "Lost"}),
        ("/cards", "create_card", {"label": "Lost too"}),
    ):
        await lose_response(c, path, done=True)
        approval_id = await unresolved_call(c, tool, **arguments)
        await c.call("status")
        await c.call(tool, **arguments, approval_id=approval_id)
    card = (await c.call("list_cards"))["cards"][0]["card_id"]
    await lose_response(c, f"/cards/{card}", method="PATCH", done=True)
    await c.call("update_card", card_id=card, status="locked")


async def desk(folder: Path) -> None:
    async with running_desk(folder) as opened, browser(opened) as page:
        waiting = await opened.ask()
        await opened.ask(digest="form", details=identity_form(), action_class=ActionClass.IDENTITY)
        for path in ("/", "/waiting", f"/decisions/{waiting.id}", "/audit", "/audit?everything=1", "/audit?kind=call",
                     "/audit?tool=status&user=user-1&day=2027-01-15&before=9"):  # fmt: skip
            assert (await page.get(path)).status_code == 200
        assert await opened.guard.channels.refuse(waiting.id, "desk", Secret(PASSPHRASE)) == "refused"
        await opened.guard.passphrase.check(Secret("wrong passphrase"), "terminal")
        opened.clock.advance(-3_600)
        await opened.guard.passphrase.check(Secret("wrong passphrase"), "terminal")
        assert await opened.guard.clock_check.rebase()


async def operator(folder: Path, policy: Path) -> None:
    settings = read_settings({"MACHINES_STATE_DIR": str(folder), "MACHINES_POLICY": str(policy)})
    async with open_guard(settings) as guard:
        await guard.freezes.freeze("terminal", GONE)
        assert await guard.freezes.frozen(GONE)
        await guard.freezes.lift("terminal", None, GONE)
        await guard.known_users.succeeded(GONE, changed=True)
        assert len((await guard.known_users.newest("", 1))[0]) == 1
        guard.audit.note(AuditEntry("call", tool="status", user_id=GONE))
        await guard.clock_check.held_until()
        await guard.approvals.identity.erase_leftovers()
        await guard.store.read(lambda db: asked_locks(db, USER, time.time()))
        await guard.store.read(lambda db: usage.used(db, usage.LOCK_ASKS, 1, time.time(), user_id=USER))
        await guard.store.read(lambda db: locks_since(db, guard.principal, time.time() - 86_400))
        with suppress(AlreadyUndone):
            await guard.store.run(lambda db: claim_undo(db, "no-lock", "no-approval"))
        await decisions(guard)
        await guard.store.read(lambda db: has_open_work(db, guard.principal))
        sent = await guard.journal.begin(
            Mutation(GONE, "PATCH /cards/{cardId}", "key", b"{}", True, {"cardId": "card-1"})
        )
        await guard.journal.begin(Mutation(GONE, "PATCH /cards/{cardId}", "key", b"{}", True, {"cardId": "card-1"}))
        for entry in await guard.journal.unresolved():
            await guard.journal.concurrent_changes(entry, 0.0)
        await guard.store.run(lambda db: guard.journal.resolve_in(db, sent, None, "terminal"))
        rows = Withdrawals(guard.store)
        begun = await rows.begin(await rows.quote(GONE, {}), "0" * 32)
        assert begun is not None and await rows.find(begun) is not None
        await rows.destinations(GONE)
        await rows.release(begun)
    pinned = read_settings({"MACHINES_STATE_DIR": str(folder), "MACHINES_USER_ID": USER})
    async with open_guard(pinned) as guard:
        assert await guard.approvals.recent(2)
        assert await guard.known_users.newest("", 1) == await guard.known_users.newest("tool", 2)
    await prune(settings, 0)
    async with open_guard(settings) as guard:
        guard.audit.note(AuditEntry("call", tool="status", action_class="read", user_id=USER))
        assert not await guard.store.read(lambda db: holds(db, Checkpoint(1, "0" * 64, 0.0)))
    done, message = await forget_user(settings, GONE, lambda: Secret(""))
    assert done, message


async def decisions(guard: Guard) -> None:
    """Open, undo and end approvals of each kind that a limit counts, and admit a call that asks nobody."""
    shown = ApprovalDetails("", card_id="card-1", sink="none")
    await guard.approvals.admit(CallRequest("reveal_card", ActionClass.READ, "user-2", "d"), shown)
    for tool, action_class, details in (
        ("create_withdrawal", ActionClass.MONEY, withdrawal(100)),
        ("reveal_card", ActionClass.REVEAL, ApprovalDetails("Show it?", card_id="card-1")),
    ):
        approval = await guard.approvals.open(CallRequest(tool, action_class, "user-2", "d"), details)
        assert await guard.approvals.grant_and_consume(approval, "desk")
        await guard.approvals.reopen(approval.id)
        assert await guard.approvals.grant(approval.id, "desk")
        assert await guard.approvals.consume(approval)
        await guard.approvals.return_grant(approval.id)
        assert await guard.approvals.consume(approval)
        await guard.approvals.executions.release(approval.id)
        assert await guard.approvals.executions.take_over(approval.id)
        await guard.approvals.finish(approval.id, "{}", ok=True, code="ok")


@pytest.fixture(scope="module")
async def walked(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Statements, Path]:
    """Return the statements of the walk, and the database of its server."""
    folder = tmp_path_factory.mktemp("walk")
    with recorded() as statements, pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "RECONCILE_SECONDS", 0.6)
        await walk(folder)
    return statements, folder / "embedded" / "state.db"


def _executed(statements: Statements, file: str, first: int, last: int) -> bool:
    return any((file, line) in statements.lines for line in range(first, last + 1))


def _reads_all(step: str, partial: set[str]) -> str | None:
    """Return the table that this step of a plan reads from its beginning to its end, unless it is small."""
    found = re.match(
        r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?|SEARCH (\w+) USING INTEGER PRIMARY KEY \(rowid>\?\)", step
    )
    if found is None or step.startswith(("SCAN json_each VIRTUAL", "SCAN CONSTANT ROW")):
        return None
    table, index = found[1] or found[3], found[2]
    return None if table in SMALL or (index in OPEN_WORK and index in partial) else table


async def test_every_statement_finds_its_rows_by_an_index(walked: tuple[Statements, Path]) -> None:
    statements, file = walked
    with closing(sqlite3.connect(file)) as db:
        schema = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index')"))
    tables = {name for name, sql in schema.items() if sql and sql.startswith("CREATE TABLE")}
    assert tables == GROWING | SMALL.keys()
    partial = {name for name, sql in schema.items() if sql and " WHERE " in sql}
    missed = [f"{at[0]}:{at[1]}" for at in places("storage.database") if not _executed(statements, *at)]
    assert not missed, "the walk above does not execute these:\n" + "\n".join(missed)
    executed = {sql for _, sql in statements.found}
    for name, each in vars(usage).items():
        assert not isinstance(each, usage.Usage) or executed & {each.of_users, each.of_all}, name
    scans = [
        (one.place, table, one.sql)
        for one in statements.found.values()
        for table in [_reads_all(step, partial) for step in one.plan]
        if table is not None
    ]
    assert [scan for scan in scans if not scan[0].startswith(tuple(EXEMPT))] == []
    used = {name for name in EXEMPT for place, *_ in scans if place.startswith(name)}
    assert used == EXEMPT.keys(), "these exemptions are of no use"


def _instructions(db: sqlite3.Connection, statement: Statement) -> int:
    """Return how many instructions of SQLite's machine the statement takes."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    db.set_progress_handler(count, 1)
    db.execute(statement.sql, statement.values).fetchall()
    db.set_progress_handler(None, 0)
    return taken


LONG_AGO = dict.fromkeys(("created_at", "expires_at", "decided_at", "started_at"), 1.0)
# More rows than a limit counts, or that it does not count although an index of another order would read them.
MORE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("approvals", LONG_AGO | {"state": "refused", "user_id": USER, "tool": "create_card"}),
    ("approvals", LONG_AGO | {"user_id": "user-2", "action_class": "reveal", "card_id": "card-1"}),
    ("approvals", LONG_AGO | {"user_id": USER, "state": "waiting"}),
    ("approvals", LONG_AGO | {"user_id": "neighbour", "created_at": time.time()}),
    ("audit", {"user_id": "neighbour", "at": time.time(), "verdict": "executing", "action_class": "money"}),
)


def _add(db: sqlite3.Connection, count: int) -> None:
    """Add copies of the newest row of these tables, with changes."""
    db.row_factory = sqlite3.Row
    for table, changes in MORE:
        key, where = ("id", "state = 'done' AND amount_cents IS NOT NULL") if table == "approvals" else ("seq", "true")
        row = {**db.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY {key} DESC").fetchone(), **changes}  # noqa: S608
        time_of = "at" if table == "audit" else "created_at"
        new = (
            {
                **row,
                key: row[key] + number if table == "audit" else uuid.uuid4().hex,
                time_of: row[time_of] + number / 1e6,
            }
            for number in range(1, count + 1)
        )
        marks = ", ".join(f":{name}" for name in row)
        db.executemany(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", new)  # noqa: S608
    db.commit()


async def test_no_read_of_a_call_costs_more_with_more_rows(walked: tuple[Statements, Path]) -> None:
    statements, file = walked
    reads = [
        one
        for one in statements.found.values()
        if one.sql.lstrip().startswith("SELECT")
        and not one.place.startswith(tuple(EXEMPT.keys() - PAGES))
        and "tool = :tool" not in one.sql  # an operator's filter
    ]
    costs: dict[int, list[int]] = {}
    for rows in (300, 3_000):
        fill_state(file, rows, time.time())
        with closing(sqlite3.connect(file)) as db:
            _add(db, rows)
            costs[rows] = [_instructions(db, one) for one in reads]
    few, many = costs.values()
    grown = [
        (one.place, before, after, one.sql)
        for one, before, after in zip(reads, few, many, strict=True)
        if after > before * 1.2 + 100
    ]
    assert not grown, "\n".join(map(str, grown))
    assert len(reads) > 40
