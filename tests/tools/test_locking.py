"""Locking a lost card works after refusals, harmless writes and a wrong clock. It has a rate of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.testing import Era, decide
from tests.support.stdio_client import ERAS
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

ASKING = '[classes]\nwrite = "ask"\n'


def policy(folder: Path, rates: str = "", classes: str = "") -> Path:
    path = folder / "policy.toml"
    rates = f"[rates]\n{rates}" if rates else ""
    path.write_text(f'version = 1\nenvironment = "embedded"\n{classes}[cards]\nunbounded = true\n{rates}')
    path.chmod(0o600)
    return path


async def new_card(c: ToolCaller) -> dict[str, Any]:
    await c.approved()
    return {"card_id": (await c.call("create_card"))["card_id"]}


async def refused_unlocks(c: ToolCaller, card: dict[str, Any]) -> None:
    """Have a person refuse three unlocks, so that the tool's cooldown begins."""
    for limit in (100, 200, 300):
        unlock = {**card, "status": "active", "limit_amount_cents": limit, "limit_frequency": "allTime"}
        asked = await c.call("update_card", **unlock)
        assert await decide({"MACHINES_STATE_DIR": str(c.state_dir)}, asked["approval_id"], yes=False) == "refused"
    assert (await c.call("update_card", **unlock))["code"] == "policy.denied"


async def write_ahead(c: ToolCaller) -> None:
    """Write a row with a clock that is a year ahead."""
    store = Store(read_settings({"MACHINES_STATE_DIR": str(c.state_dir)}).state_dir)
    policy = default_policy("embedded", read_only=False)
    guard = build_guard(store, policy, ANY_USER, clock=lambda: time.time() + 365 * 86_400)
    await guard.audit.append(AuditEntry("call", tool="get_card"))
    await store.close()


@pytest.mark.parametrize("era", ERAS)
async def test_a_card_is_locked_after_many_harmless_writes(tmp_path: Path, era: Era) -> None:
    async with caller(tmp_path / "state", mode=era, policy=policy(tmp_path, "mutations_per_hour = 20")) as c:
        card = await new_card(c)
        while (written := await c.call("update_card", **card, label="Food")).get("code") is None:
            pass
        assert written["limit"] == "rates.mutations_per_hour"
        assert (await c.call("update_card", **card, status="locked"))["status"] == "locked"


@pytest.mark.parametrize("era", ERAS)
async def test_a_card_is_locked_after_three_refused_unlocks(tmp_path: Path, era: Era) -> None:
    async with caller(tmp_path, mode=era, answer="accept") as c:
        card = await new_card(c)
        async with caller(tmp_path, mode=era, answer=None, sandbox=c.sandbox) as later:
            await refused_unlocks(later, card)
            assert (await later.call("update_card", **card, status="locked"))["status"] == "locked"


async def test_a_person_is_asked_to_lock_a_card_after_three_refusals_and_many_asks(tmp_path: Path) -> None:
    rules = policy(tmp_path, "asks_per_minute = 8", ASKING)
    async with caller(tmp_path / "state", policy=rules) as c:
        card = await new_card(c)
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later:
            for label in ("One", "Two", "Three"):
                asked = await later.call("update_card", **card, label=label)
                env = {"MACHINES_STATE_DIR": str(later.state_dir), "MACHINES_POLICY": str(rules)}
                assert await decide(env, asked["approval_id"], yes=False) == "refused"
            assert (await later.call("update_card", **card, label="Four"))["code"] == "policy.denied"
            for network in ("base", "ethereum", "polygon", "arbitrum", "optimism"):
                asked = await later.call("create_deposit", currency="rusd", network=network)
            assert asked["limit"] == "rates.asks_per_minute"
            lock = await later.call("update_card", **card, status="locked")
            assert lock["code"] == "approval.required"
            assert await decide(env, lock["approval_id"]) == "granted"
            done = await later.call("update_card", **card, status="locked", approval_id=lock["approval_id"])
            assert done["status"] == "locked"


async def test_a_card_is_locked_and_closed_while_the_clock_is_behind(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        card = await new_card(c)
        await write_ahead(c)
        assert (await c.call("update_card", **card, label="Food"))["limit"] == "clock.set_back"
        raised = {"limit_amount_cents": 100, "limit_frequency": "allTime"}
        assert (await c.call("update_card", **card, **raised))["limit"] == "clock.set_back"
        assert (await c.call("update_card", **card, status="locked"))["status"] == "locked"
        assert (await c.call("close_card", **card))["status"] == "canceled"


async def test_locks_have_a_rate_of_their_own_per_user(tmp_path: Path) -> None:
    rules = policy(tmp_path, "locks_per_hour = 2\nmutations_per_hour = 10")
    async with caller(tmp_path / "state", policy=rules) as c:
        card = await new_card(c)
        async with caller(tmp_path / "state", "user-2", policy=rules, sandbox=c.sandbox) as other:
            theirs = await new_card(other)
            for _ in range(2):
                assert (await c.call("update_card", **card, status="locked"))["status"] == "locked"
            over = await c.call("update_card", **card, status="locked")
            assert (over["code"], over["limit"]) == ("policy.denied", "rates.locks_per_hour")
            assert (await other.call("update_card", **theirs, status="locked"))["status"] == "locked"
            # Neither the locks nor their rate take anything from other changes.
            assert (await c.call("update_card", **card, label="Food"))["label"] == "Food"


async def test_thirty_locks_an_hour_are_the_default_and_take_nothing_from_other_writes(tmp_path: Path) -> None:
    async with caller(tmp_path / "state", policy=policy(tmp_path, "mutations_per_hour = 10")) as c:
        card = await new_card(c)
        for _ in range(30):
            assert (await c.call("update_card", **card, status="locked"))["status"] == "locked"
        assert (await c.call("update_card", **card, status="locked"))["limit"] == "rates.locks_per_hour"
        assert (await c.call("update_card", **card, label="Food"))["label"] == "Food"
