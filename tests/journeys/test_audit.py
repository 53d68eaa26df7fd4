"""The audit of a server over stdio: rows for a call of each class, without the call's values."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from machines_mcp.storage.audit_log import AuditLog, AuditRow, Verification
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.state_keys import state_key
from tests.support.stdio_client import ERAS, Agent, Era, ToolError, agent, applicant
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

WHO = "user-1"
CANARY = "canary-9f31"


class AuditReader:
    """The audit in a server's state folder, read alongside the server."""

    def __init__(self, state: Path) -> None:
        folder = state / "embedded"
        self._store = Store(folder)
        self._folder = folder
        self._read_until = 0

    async def fresh(self, count: int) -> list[AuditRow]:
        """Return the rows since the last call, once there are this many. Rows of reads are written in batches."""
        with anyio.fail_after(PATIENCE):
            while len(rows := await self._rows()) < count:
                await anyio.lowlevel.checkpoint()
        self._read_until = rows[-1].seq
        return rows

    async def verified(self) -> Verification:
        return await self._audit().verified()

    async def close(self) -> None:
        await self._store.close()

    async def _rows(self) -> list[AuditRow]:
        return await self._audit().rows(ANY_USER, after=self._read_until, limit=1000)

    def _audit(self) -> AuditLog:
        return AuditLog(self._store, state_key(self._folder, "audit"), "reader")


def brief(rows: list[AuditRow]) -> list[tuple[str, str | None, str | None, str | None, str | None]]:
    return [(row.kind, row.tool, row.action_class, row.verdict, row.code) for row in rows]


async def refused(server: Agent, tool: str, **arguments: Any) -> str:
    with pytest.raises(ToolError) as caught:
        await server.call(tool, arguments)
    return caught.value.code


@pytest.mark.parametrize("era", ERAS)
async def test_call_of_each_class_has_its_rows(tmp_path: Path, era: Era) -> None:
    book = AuditReader(tmp_path)
    async with agent(tmp_path, era, who=WHO) as server:
        await server.call("status")
        assert brief(await book.fresh(1)) == [("call", "status", "read", None, "ok")]

        await server.call("create_session", purpose="kyc")
        assert brief(await book.fresh(2)) == [
            ("call", "create_session", "write", "executing", None),
            ("outcome", "create_session", "write", None, "ok"),
        ]

        await server.call("resolve_user")
        await book.fresh(2)
        await server.call("submit_kyc", applicant())
        rows = await book.fresh(4)
        assert brief(rows) == granted("submit_kyc", "identity")
        assert {row.user_id for row in rows} == {WHO}
        assert len({row.approval_id for row in rows}) == 1
        assert [row.by for row in rows] == [None, "dialog", "dialog", "dialog"]

        await server.call("accept_agreements")
        assert brief(await book.fresh(4)) == granted("accept_agreements", "consent")

        deposit = await server.call("create_deposit", currency="rusd", network="base", amount=100)
        await server.call("get_deposit", deposit_id=deposit["deposit_id"], wait_seconds=30)
        await book.fresh(3)
        card = await server.call("create_card", limit_amount_cents=5000, limit_frequency="per30DayPeriod")
        assert brief(await book.fresh(4)) == granted("create_card", "money")

        assert await refused(server, "reveal_card", card_id=card["card_id"], sink="page") == "approval.required"
        rows = await book.fresh(2)
        assert brief(rows)[:1] == [("approval_request", "reveal_card", "reveal", None, None)]
        assert (rows[0].sink, rows[0].card_id) == ("page", card["card_id"])

        await server.call("reveal_card", card_id=card["card_id"], sink="none")
        rows = await book.fresh(3)
        assert ("reveal", "none", card["card_id"]) in {(row.kind, row.sink, row.card_id) for row in rows}

        server.person.answer = "decline"
        assert await refused(server, "close_card", card_id=card["card_id"]) == "approval.refused"
        rows = await book.fresh(3)
        assert brief(rows)[:2] == [
            ("approval_request", "close_card", "destroy", None, None),
            ("decision", "close_card", "destroy", "refused", None),
        ]
        assert all(row.card_id in (None, card["card_id"]) for row in rows)

        verification = await book.verified()
        assert verification.ok
        assert verification.rows > 20
    await book.close()


def granted(tool: str, action_class: str) -> list[tuple[str, str, str, str | None, str | None]]:
    return [
        ("approval_request", tool, action_class, None, None),
        ("decision", tool, action_class, "granted", None),
        ("call", tool, action_class, "executing", None),
        ("outcome", tool, action_class, "done", "ok"),
    ]


async def test_failed_calls_have_rows_with_the_error_and_no_arguments(tmp_path: Path) -> None:
    book = AuditReader(tmp_path)
    async with agent(tmp_path, "2026-07-28", who=WHO) as server:
        assert await refused(server, f"tool_{CANARY}") == "tool.unknown"
        assert [(row.kind, row.tool, row.code) for row in await book.fresh(1)] == [("call", None, "tool.unknown")]

        assert await refused(server, "get_card", **{CANARY: CANARY}) == "input.invalid"
        assert [(row.tool, row.code) for row in await book.fresh(1)] == [("get_card", "input.invalid")]

        assert await refused(server, "get_kyc_status", user_id=f"{CANARY} and a message") == "user.unknown"
        (row,) = await book.fresh(1)
        assert row.code == "user.unknown"
        assert str(row.user_id).startswith("~")

        await server.call("create_session", purpose="kyc")
        await book.fresh(2)
        limit = {"limit_amount_cents": 1, "limit_frequency": "per30DayPeriod"}
        assert await refused(server, "create_card", **limit) == "kyc.not_approved"
        (row,) = await book.fresh(1)
        assert (row.kind, row.tool, row.action_class, row.user_id) == ("call", "create_card", "money", WHO)
        assert row.code == "kyc.not_approved"

        assert await refused(server, "accept_agreements", approval_id="0" * 32) == "approval.mismatch"
        assert [(row.tool, row.code) for row in await book.fresh(1)] == [("accept_agreements", "mismatch")]
    await book.close()
    with sqlite3.connect(tmp_path / "embedded" / "state.db") as db:
        assert CANARY not in repr(db.execute("SELECT * FROM audit").fetchall())
    db.close()


async def test_denied_call_has_a_row(tmp_path: Path) -> None:
    book = AuditReader(tmp_path)
    async with agent(tmp_path, "2026-07-28", who=WHO, MACHINES_READ_ONLY="true") as server:
        assert await refused(server, "create_session", purpose="kyc") == "policy.denied"
        assert [(row.tool, row.action_class, row.code) for row in await book.fresh(1)] == [
            ("create_session", "write", "policy.denied")
        ]
    await book.close()


async def test_calls_just_before_the_exit_are_audited(tmp_path: Path) -> None:
    async with agent(tmp_path, "2026-07-28", who=WHO) as server:
        for _ in range(3):
            await server.call("status")
    book = AuditReader(tmp_path)
    assert brief(await book.fresh(1)) == [("call", "status", "read", None, "ok")] * 3
    await book.close()


async def test_nothing_changes_if_it_can_not_be_audited(tmp_path: Path) -> None:
    book = AuditReader(tmp_path)
    async with agent(tmp_path, "2026-07-28", who=WHO) as server:
        await server.call("create_session", purpose="kyc")
        with sqlite3.connect(tmp_path / "embedded" / "state.db") as db:
            db.execute("ALTER TABLE audit RENAME TO elsewhere")
        db.close()
        assert await refused(server, "create_deposit", currency="rusd", network="base") == "state.unavailable"
        with anyio.fail_after(PATIENCE):
            while "audit_trouble" not in (seen := await server.call("status")):
                await anyio.lowlevel.checkpoint()
        assert "can't be written" in seen["audit_trouble"]
    await book.close()
