"""Every tool passes the authorizer, for each class of its calls. A tool missing from this module fails the tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.protocol.tool import Tool, ToolContext
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.tools.approvals import cancel_approval
from machines_mcp.tools.catalog import ACTION_CLASSES, TOOLS
from tests.support.clock import Clock
from tests.support.fake_tools import Harness, body, build_harness, code
from tests.support.stdio_client import applicant

pytestmark = pytest.mark.anyio

USER = {"user_id": "user-1"}
CARD = USER | {"card_id": "card-0001"}
ASSET = USER | {"currency": "rusd", "network": "base"}
WALLET, HASH = "0x" + "ab" * 20, "0x" + "ab" * 32

CALLS: dict[str, dict[ActionClass, dict[str, Any]]] = {
    "status": {ActionClass.READ: {}},
    "cancel_approval": {ActionClass.WRITE: {"approval_id": "0" * 32}},
    "list_users": {ActionClass.READ: {}},
    "create_session": {ActionClass.WRITE: USER | {"purpose": "kyc"}},
    "resolve_user": {ActionClass.WRITE: USER, ActionClass.IDENTITY: USER | {"wallet_address": WALLET}},
    "get_kyc_requirements": {ActionClass.READ: USER},
    "submit_kyc": {ActionClass.IDENTITY: USER | applicant()},
    "get_kyc_status": {ActionClass.READ: USER},
    "get_agreements": {ActionClass.READ: USER},
    "accept_agreements": {ActionClass.CONSENT: USER},
    "list_deposit_assets": {ActionClass.READ: USER},
    "quote_deposit": {ActionClass.READ: ASSET | {"amount": 100}},
    "create_deposit": {ActionClass.WRITE: ASSET},
    "list_deposits": {ActionClass.READ: USER},
    "get_deposit": {ActionClass.READ: USER | {"deposit_id": "deposit-0001"}},
    "get_balances": {ActionClass.READ: USER},
    "list_transactions": {ActionClass.READ: USER},
    "list_withdrawal_assets": {ActionClass.READ: USER},
    "quote_withdrawal": {ActionClass.READ: ASSET | {"amount_cents": 2500, "address": WALLET}},
    "create_withdrawal": {ActionClass.MONEY: USER | {"quote_id": "quote_" + "0" * 32}},
    "get_withdrawal_transaction": {ActionClass.READ: USER | {"withdrawal_id": "wd_" + "0" * 32}},
    "confirm_withdrawal": {
        ActionClass.WRITE: USER | {"withdrawal_id": "wd_" + "0" * 32, "transaction_hash": "0x" + "ab" * 32}
    },
    "list_withdrawals": {ActionClass.READ: USER},
    "create_card": {ActionClass.MONEY: USER},
    "list_cards": {ActionClass.READ: USER},
    "get_card": {ActionClass.READ: CARD},
    "update_card": {ActionClass.WRITE: CARD | {"status": "locked"}, ActionClass.MONEY: CARD | {"status": "active"}},
    "close_card": {ActionClass.DESTROY: CARD},
    "reveal_card": {ActionClass.READ: CARD | {"sink": "none"}, ActionClass.REVEAL: CARD | {"sink": "sealed"}},
}


class ToolReached(Exception):
    """The tool's own function was called."""


@pytest.fixture
def reached() -> list[str]:
    """The names of the tools whose functions were called."""
    return []


def recording_calls(tool: Tool, reached: list[str]) -> Tool:
    """Return the tool with a function that only records the call and raises.

    Its approval details send no request, and it has no reconciliation, so the journal shows that nothing was sent.
    """

    async def run(call: ToolContext[Any], args: Any) -> Any:
        reached.append(tool.name)
        raise ToolReached

    async def details(call: ToolContext[Any], args: Any) -> ApprovalDetails:
        return ApprovalDetails("May it?")

    return replace(tool, run=run, approval_details=details, approval_page=None, reconcile=None)


def test_every_tool_and_class_has_a_call_here() -> None:
    assert {tool.name: set(tool.action_classes) for tool in TOOLS} == {
        name: set(calls) for name, calls in CALLS.items()
    }
    assert {name: set(action_classes) for name, action_classes in ACTION_CLASSES.items()} == {
        n: set(calls) for n, calls in CALLS.items()
    }
    assert all(CALLS.values())


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_class_of_a_call_matches_its_effect(tool: Tool) -> None:
    for action_class, arguments in CALLS[tool.name].items():
        assert tool.classify(tool.input_model(**arguments)) is action_class
    # A tool is read-only exactly if it has no class but READ.
    assert tool.read_only == (set(tool.action_classes) == {ActionClass.READ})


CASES = [
    pytest.param(tool, action_class, id=f"{tool.name}-{action_class}")
    for tool in TOOLS
    for action_class in CALLS[tool.name]
]


def harness(store: Store, clock: Clock, tool: Tool, rule: Rule, reached: list[str]) -> Harness:
    users = frozenset(USER.values())
    rules = Policy(dict.fromkeys(ActionClass, rule), users=users, identity_through_model=True)
    return build_harness(store, clock, tools=[recording_calls(tool, reached)], policy=rules)


@pytest.mark.parametrize(("tool", "action_class"), CASES)
async def test_a_denied_call_is_not_reached_with_any_id(
    tool: Tool, action_class: ActionClass, store: Store, clock: Clock, reached: list[str]
) -> None:
    found = harness(store, clock, tool, Rule.DENY, reached)
    async with found.client("2026-07-28") as client:
        given = CALLS[tool.name][action_class]
        assert code(await client.call_tool(tool.name, given)) == "policy.denied"
        assert code(await client.call_tool(tool.name, given | {"approval_id": "0" * 32})) != "ok"
    assert reached == []


async def test_withdrawing_a_request_asks_nobody_even_if_writes_ask(
    store: Store, clock: Clock, reached: list[str]
) -> None:
    found = harness(store, clock, cancel_approval, Rule.ASK, reached)
    async with found.client("2026-07-28") as client:
        await client.call_tool("cancel_approval", CALLS["cancel_approval"][ActionClass.WRITE])
    assert reached == ["cancel_approval"]
    assert await found.guard.approvals.recent(1) == []


@pytest.mark.parametrize(("tool", "action_class"), [case for case in CASES if case.values[0] is not cancel_approval])
async def test_a_call_that_asks_is_reached_once_and_only_after_approval(
    tool: Tool, action_class: ActionClass, store: Store, clock: Clock, reached: list[str]
) -> None:
    found = harness(store, clock, tool, Rule.ASK, reached)
    async with found.client("2026-07-28") as client:
        given = CALLS[tool.name][action_class]
        asked = await client.call_tool(tool.name, given)
        assert code(asked) == "approval.required"
        again = given | {"approval_id": body(asked)["approval_id"]}
        assert code(await client.call_tool(tool.name, again)) == "approval.required"
        assert reached == []
        assert await found.guard.channels.grant(body(asked)["approval_id"], "terminal") == "granted"
        for _ in range(2):
            assert code(await client.call_tool(tool.name, again)) == "outcome.unknown"
    assert reached == [tool.name]


@pytest.mark.parametrize(("tool", "action_class"), CASES)
async def test_an_allowed_call_is_audited_before_it_is_reached(
    tool: Tool, action_class: ActionClass, store: Store, clock: Clock, reached: list[str]
) -> None:
    found = harness(store, clock, tool, Rule.ALLOW, reached)
    given = CALLS[tool.name][action_class]
    async with found.client("2026-07-28") as client:
        await client.call_tool(tool.name, given)
        assert reached == [tool.name]
        before = [row for row in await found.guard.audit.rows(ANY_USER, kind="call") if row.verdict == "executing"]
        assert len(before) == (action_class is not ActionClass.READ)
        reached.clear()
        # The database is now read-only, so calls that change anything must be refused.
        await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
        answer = await client.call_tool(tool.name, given)
    if action_class is ActionClass.READ:
        assert reached == [tool.name]
    else:
        assert (code(answer), reached) == ("state.unavailable", [])
