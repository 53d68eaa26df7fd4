"""What a summary names is exactly what the result holds: payees unmasked, and none that the result leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from machines_mcp.protocol.responses import tool_run
from machines_mcp.redaction.verbatim import AddressOrMemo, Identifier
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.deposit_output import DepositResult
from tests.support.card_numbers import card_number
from tests.support.results import text_parts
from tests.support.tool_caller import caller
from tests.tools.test_identity_echoes import PERSON
from tests.tools.test_next_steps_of_errors import _call
from tests.tools.test_withheld_results import Wire, eras

CREATE = next(tool for tool in TOOLS if tool.name == "create_deposit")


@eras
def test_an_address_or_memo_like_a_card_number_is_unmasked_in_the_summary(era: str) -> None:
    wire, address, memo = Wire(), AddressOrMemo(f"0x{card_number()}"), AddressOrMemo(card_number())
    output = DepositResult(
        deposit_id=Identifier("deposit-1"), deposit_address=address, memo=memo, poll_after_seconds=5, next_steps=[]
    )
    wire.responses.begin(wire.allowance)
    run = tool_run(output, wire.filter, "ann")
    result = wire.sent(wire.responses.result(replace(_call(CREATE, None), allowance=wire.allowance), run), era)[
        "result"
    ]
    assert result["structuredContent"]["memo"] == memo
    assert result["content"][1]["text"].endswith(f"Send it to {address} with the memo {memo}.")


@eras
def test_a_card_number_that_the_result_does_not_hold_is_masked_in_the_summary(era: str) -> None:
    wire, number = Wire(), card_number()
    wire.responses.begin(wire.allowance)
    run = tool_run(DepositResult(deposit_id=Identifier("deposit-1")), wire.filter, "ann")
    call = replace(_call(CREATE, None), allowance=wire.allowance)
    result = wire.responses.result(call, replace(run, summary=f"Send to {number}."))
    assert number not in str(wire.sent(result, era))


@pytest.mark.anyio
async def test_a_payee_left_out_of_the_result_is_not_in_the_summary(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        assert (await c.call("submit_kyc", **PERSON | {"phone_number": "152455501"}))["status"] == "approved"
        await c.call("accept_agreements")
        steps = [{"op": "add", "path": "/data/deposit/payinExtraId", "value": "152455501"}]
        await c.control("/faults", kind="patch", path="/deposits", method="POST", exact=True, patch=steps, calls=1)
        result = await c.client.call_tool("create_deposit", {"currency": "xrp", "network": "ripple", "amount": 50})
        body, said = text_parts(result)
        assert "deposit_address" not in body
        assert "address" not in said and "152455501" not in said


@pytest.mark.anyio
async def test_the_summary_of_a_deposit_names_its_address_and_memo(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        made = await c.client.call_tool("create_deposit", {"currency": "xrp", "network": "ripple", "amount": 50})
        assert made.structured_content is not None
        address, memo = made.structured_content["deposit_address"], made.structured_content["memo"]
        assert text_parts(made)[1].endswith(f"Send it to {address} with the memo {memo}.")
