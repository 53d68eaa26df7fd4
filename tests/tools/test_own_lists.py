"""The lists of what this server knows itself: its users and their withdrawals, without a call to Machines."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.isolation.neighbours import ANN, BOB, Neighbours, policies, prepare
from tests.support.in_process import InProcessTransport, in_process_sandbox
from tests.support.tool_caller import caller
from tests.tools.test_withdrawals import ADDRESS, funded

pytestmark = pytest.mark.anyio
TERMS: dict[str, Any] = {"currency": "rusd", "network": "base", "address": ADDRESS}


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a test make Machines unreachable."""

    async def refuse(self: InProcessTransport, request: httpx.Request) -> httpx.Response:
        raise AssertionError("the tool called Machines")

    return lambda: monkeypatch.setattr(InProcessTransport, "handle_async_request", refuse)


async def test_users_are_listed_newest_first_and_found_by_the_start_of_their_ids(
    tmp_path: Path, unreachable: Any
) -> None:
    async with caller(tmp_path, user_id=None) as c:
        assert await c.call("list_users") == {
            "users": [], "users_total": 0, "next_steps": [], "environment": "embedded", "simulated": True,
        }  # fmt: skip
        for user_id in ("team-1", "team-2", "%"):
            await c.call("create_session", user_id=user_id, purpose="kyc")
        # A failed or refused call makes no user known.
        await c.call("get_balances", user_id="typo")
        unreachable()
        found = await c.call("list_users")
        assert [user["user_id"] for user in found["users"]] == ["%", "team-2", "team-1"]
        assert found["next_steps"][0]["arguments"] == {"user_id": "%"}
        first = await c.call("list_users", query="team-", limit=1)
        assert ([user["user_id"] for user in first["users"]], first["users_total"]) == (["team-2"], 2)
        assert [u["user_id"] for u in (await c.call("list_users", query="%"))["users"]] == ["%"]


async def test_an_id_that_no_call_can_name_any_more_is_not_listed(tmp_path: Path) -> None:
    async with caller(tmp_path, user_id=None) as c:
        await c.call("create_session", user_id="ann", purpose="kyc")
        with closing(sqlite3.connect(tmp_path / "embedded" / "state.db")) as db, db:
            db.execute("INSERT INTO known_users (user_id, since) VALUES ('a\u202eb', 1), ('null', 2)")
        assert [user["user_id"] for user in (await c.call("list_users"))["users"]] == ["ann"]


async def test_withdrawals_are_listed_with_status_amount_destination_and_time(tmp_path: Path, unreachable: Any) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        assert (await c.call("list_withdrawals"))["withdrawals"] == []
        quote = await c.call("quote_withdrawal", amount_cents=2500, **TERMS)
        made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        later = await c.call("quote_withdrawal", amount_cents=2600, **TERMS)
        with closing(sqlite3.connect(tmp_path / "embedded" / "state.db")) as db, db:
            row = ("wd_" + "0" * 32, "tool-user", later["quote_id"], "unknown", 2e9, 2e9 + 60)
            db.execute("INSERT INTO withdrawals VALUES (?, ?, ?, ?, NULL, ?, ?, NULL)", row)
        unreachable()
        found = await c.call("list_withdrawals")
        newest, first = found["withdrawals"]
        assert (first["withdrawal_id"], first["status"]) == (made["withdrawal_id"], made["status"])
        assert newest == TERMS | {
            "withdrawal_id": row[0], "amount_cents": 2600, "status": "unknown",
            "created_at": "2033-05-18T03:33:20Z", "updated_at": "2033-05-18T03:34:20Z",
        }  # fmt: skip
        assert len((await c.call("list_withdrawals", limit=1))["withdrawals"]) == 1
        with closing(sqlite3.connect(tmp_path / "embedded" / "state.db")) as db, db:
            db.execute("UPDATE withdrawals SET status = 'not_begun' WHERE id = ?", (newest["withdrawal_id"],))
        left = await c.call("list_withdrawals")
        assert ([row["amount_cents"] for row in left["withdrawals"]], left["withdrawals_total"]) == ([2500], 1)


@pytest.mark.parametrize("pinned", [True, False])
async def test_rows_of_another_user_are_neither_listed_nor_counted(tmp_path: Path, pinned: bool) -> None:
    async with in_process_sandbox() as sandbox:
        home = Neighbours(tmp_path / "state", policies(tmp_path, pinned=pinned), sandbox, pinned)
        await prepare(home)
        with closing(sqlite3.connect(tmp_path / "state" / "embedded" / "state.db")) as db, db:
            db.executemany("INSERT OR IGNORE INTO known_users (user_id, since) VALUES (?, 1)", [(ANN,), (BOB,)])
        async with home.server(BOB) as bob:
            assert [u["user_id"] for u in (await bob.call("list_users"))["users"]] == [BOB]
            assert (await bob.call("list_withdrawals", **home.who(BOB)))["withdrawals_total"] >= 1
        async with home.server(ANN) as ann:
            users, paid = await ann.call("list_users"), await ann.call("list_withdrawals", **home.who(ANN))
            asked = await ann.call("list_users", query=BOB[:3])
    assert ([user["user_id"] for user in users["users"]], users["users_total"]) == ([ANN], 1)
    assert (asked["users"], asked["users_total"]) == ([], 0)
    assert (paid["withdrawals"], paid["withdrawals_total"]) == ([], 0)
    assert home.found_in(json.dumps([users, paid, asked])) == []
