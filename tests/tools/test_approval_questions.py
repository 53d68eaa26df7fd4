"""The question that a person reads: no value in it can pass for the question's own words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.stdio_client import applicant
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_cards import _grant

pytestmark = pytest.mark.anyio

LURE = "APPROVED ALREADY"
USER = f"user-1”? {LURE}. Lock the card of “user-2"
LABEL = f"x” with no limit\" {LURE} '“"


async def test_no_value_can_pass_for_the_words_of_a_question(tmp_path: Path) -> None:
    asked: list[str] = []

    async def ask(c: ToolCaller, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call, read the pending question, approve it, and call again."""
        refused = await c.call(tool, **arguments)
        assert refused["code"] == "approval.required", refused
        (waiting,) = (await c.call("status"))["waiting"]
        asked.append(waiting["question"])
        await _grant(tmp_path, waiting["approval_id"])
        return await c.call(tool, **arguments, approval_id=waiting["approval_id"])

    async with caller(tmp_path, user_id=USER, answer=None) as c:
        await ask(c, "resolve_user", wallet_address="0x" + "ab" * 20)
        await ask(c, "submit_kyc", **applicant())
        await ask(c, "accept_agreements")
        card = await ask(c, "create_card", label=LABEL)
        await ask(c, "update_card", card_id=card["card_id"], status="active", label=LABEL)
        await ask(c, "close_card", card_id=card["card_id"])
        deposit = await c.call("create_deposit", currency="rusd", network="base", amount=100)
        await c.control("/deposits", depositId=deposit["deposit_id"])
        quote = await c.call(
            "quote_withdrawal", amount_cents=2_000, currency="usdc", network="base", address="0x" + "ef" * 20
        )
        await ask(c, "create_withdrawal", quote_id=quote["quote_id"])
    assert len(asked) == 7
    for question in asked:
        words = re.sub("“[^“”]*”", "", question)
        assert not re.search("[“”\"']", words), question
        assert LURE in question
        assert LURE not in words, question


async def test_address_with_quotes_is_rejected(
    tmp_path: Path,
) -> None:
    async with caller(tmp_path) as c:
        for quote in "\"'`":
            for field in ("address", "extra_id"):
                terms = {"amount_cents": 500, "currency": "usdc", "network": "base", "address": "0x" + "ef" * 20}
                error = await c.call("quote_withdrawal", **terms | {field: f"0xab{quote}cd"})
                assert error["code"] == "input.invalid"
                assert [fault["field"] for fault in error["fields"]] == [field]
