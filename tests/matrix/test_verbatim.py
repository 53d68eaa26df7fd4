"""Ids that look like card numbers stay whole in verbatim fields, over stdio in both protocol eras."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest

from machines_mcp.sandbox.addresses import new_address
from tests.support.card_numbers import card_number
from tests.support.results import object_text
from tests.support.stdio_client import ERAS, Agent, Era, ToolError, agent
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

STELLAR = new_address("stellar")


async def _raw(found: Agent, tool: str, **arguments: Any) -> str:
    with anyio.fail_after(PATIENCE):
        return object_text(await found.client.call_tool(tool, arguments))


@pytest.mark.parametrize("era", ERAS)
async def test_user_id_that_looks_like_a_card_number_works_everywhere(tmp_path: Path, era: Era) -> None:
    number = card_number()
    async with agent(tmp_path, era, who=number) as found:
        assert (await found.call("resolve_user"))["user_id"] == number
        await found.to_funded()
        card = await found.call("create_card", limit_amount_cents=5000, limit_frequency="per30DayPeriod")
        assert card["next_steps"][0]["arguments"]["user_id"] == number
        read = await found.client.read_resource(f"machines://users/{number}/cards/{card['card_id']}")
        assert card["card_id"] in read.model_dump_json()
        known = await found.client.complete(
            types.PromptReference(type="ref/prompt", name="onboard_user"), {"name": "user_id", "value": number[:4]}
        )
        assert known.completion.values == [number]
        # The approval page is free text, so anything that looks like a card number is masked there.
        assert found.person.asked
        assert not [question for question in found.person.asked if number in question]


@pytest.mark.parametrize("era", ERAS)
async def test_repeated_call_returns_its_stored_outcome_unchanged(tmp_path: Path, era: Era) -> None:
    number = card_number()
    wallet = "0x" + "ab" * 20
    async with agent(tmp_path, era, who=number, dialog=False) as found:
        asked = json.loads(await _raw(found, "resolve_user", user_id=number, wallet_address=wallet))
        assert asked["code"] == "approval.required"
        ask = {"user_id": number, "wallet_address": wallet, "approval_id": asked["approval_id"]}
        assert json.loads(await _raw(found, "resolve_user", **ask))["code"] == "approval.required"
        _approve(tmp_path, asked["approval_id"])
        first = json.loads(await _raw(found, "resolve_user", **ask))
        assert first["user_id"] == number
        assert json.loads(await _raw(found, "resolve_user", **ask)) == first


@pytest.mark.parametrize("era", ERAS)
async def test_memo_that_looks_like_a_card_number_is_not_masked(tmp_path: Path, era: Era) -> None:
    number = card_number()
    async with agent(tmp_path, era, who="memo-user") as found:
        await found.to_funded()
        asset = (await found.call("list_withdrawal_assets", query="xlm"))["assets"][0]
        (network,) = [one["id"] for one in asset["networks"] if one["takes_memo"]]
        terms = {"amount_cents": 2500, "currency": asset["currency"], "network": network, "extra_id": number}
        terms["admin_address"] = "0x" + "7a" * 20
        quote = await found.call("quote_withdrawal", terms, address=STELLAR)
        assert quote["extra_id"] == number
        await found.call("create_withdrawal", quote_id=quote["quote_id"])
        assert number in found.person.asked[-1]
        # For an expired quote, the error's next step repeats its terms.
        again = await found.call("quote_withdrawal", terms, address=STELLAR)
        await anyio.to_thread.run_sync(_expire, tmp_path, again["quote_id"])
        with pytest.raises(ToolError) as late:
            await found.call("create_withdrawal", quote_id=again["quote_id"])
        assert late.value.body["next_steps"][0]["arguments"]["extra_id"] == number


def _expire(state_dir: Path, quote_id: str) -> None:
    (path,) = state_dir.rglob("state.db")
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as db, db:
        assert db.execute("UPDATE quotes SET expires_at = 0 WHERE id = ?", (quote_id,)).rowcount == 1


def _approve(state_dir: Path, approval_id: str) -> None:
    env = {**os.environ, "MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state_dir)}
    subprocess.run(
        [sys.executable, "-m", "machines_mcp", "approve", approval_id], env=env, check=True, timeout=PATIENCE
    )
