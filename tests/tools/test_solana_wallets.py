"""A Solana wallet is linked like an EVM one: asked with its chain, sent to the letter, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.cli.approvals import waiting_approvals
from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.errors import ToolError
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.tools.user import resolve_user
from tests.support.interrupted import lose_response, short_reconciliation_wait, unresolved_call
from tests.support.results import text_parts
from tests.support.tool_caller import caller
from tests.tools.test_withdrawals import ADDRESS, SOLANA

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(short_reconciliation_wait.__name__)]
LINK = {"wallet_chain": "solana", "wallet_address": SOLANA}
# It differs from SOLANA in the case of one letter, so it is the address of somebody else.
OTHER = SOLANA.replace("EP", "eP", 1)


async def test_a_person_is_asked_about_a_solana_wallet_with_its_chain(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        asked = await c.call("resolve_user", **LINK)
        assert asked["code"] == "approval.required"
        (waiting,) = (await c.call("status"))["waiting"]
        assert waiting["question"] == "Link this Solana wallet to the user at Machines?"
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
        ((approval,), _) = await waiting_approvals(read_settings(env))
        assert f"Wallet: “{SOLANA}” (from the agent; " in approval.dialog()


async def test_a_linked_solana_wallet_keeps_its_case_and_takes_deposits(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        refused = await c.call("create_deposit", currency="rusd", network="solana", amount=50)
        assert refused["code"] != "approval.required" and "deposit_id" not in refused
        answer = await c.client.call_tool("resolve_user", LINK)
        linked = answer.structured_content or {}
        assert {name: linked[name] for name in LINK} == LINK
        assert text_parts(answer)[1].endswith(f"Their Solana wallet is {SOLANA}.")
        made = await c.call("create_deposit", currency="rusd", network="solana", amount=50)
        assert made["deposit_address"]
        evm = await c.call("resolve_user", wallet_address=ADDRESS)
        assert (evm["wallet_chain"], evm["wallet_address"]) == ("evm", ADDRESS)


@pytest.mark.parametrize("before", [None, OTHER])
@pytest.mark.parametrize("done", [True, False])
async def test_a_lost_link_is_read_back_by_the_exact_address(tmp_path: Path, done: bool, before: str | None) -> None:
    async with caller(tmp_path) as c:
        await c.call("resolve_user", **(LINK | {"wallet_address": before} if before else {}))
        await lose_response(c, "/users/resolve", done=done)
        approval = await unresolved_call(c, "resolve_user", **LINK)
        # If the other wallet is still linked, the link is sent again.
        assert (await c.call("resolve_user", **LINK, approval_id=approval))["wallet_address"] == SOLANA
        assert (await c.call("resolve_user"))["wallet_address"] == SOLANA


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"wallet_chain": "solana", "wallet_address": ADDRESS}, "wallet_address"),
        ({"wallet_address": SOLANA}, "wallet_address"),
        ({"wallet_chain": "solana", "wallet_address": SOLANA[:-4]}, "wallet_address"),
        ({"wallet_chain": "solana"}, "wallet_address"),
        ({"wallet_chain": "bitcoin", "wallet_address": SOLANA}, "wallet_chain"),
    ],
)
def test_a_wallet_of_another_chain_is_refused_before_anybody_is_asked(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(ToolError) as refused:
        validate(resolve_user, {"user_id": "ann"} | arguments, None)
    assert [fault.field for fault in refused.value.fields] == [field]


async def test_a_response_with_another_solana_wallet_is_no_success(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        steps = [{"op": "add", "path": "/data/wallet/address", "value": OTHER}]
        steps.append({"op": "add", "path": "/data/walletAddress", "value": OTHER})
        await c.control("/faults", kind="patch", path="/users/resolve", patch=steps, calls=1)
        assert (await c.call("resolve_user", **LINK))["code"] == "outcome.unknown"
