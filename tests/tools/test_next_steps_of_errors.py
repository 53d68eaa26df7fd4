"""The next steps of every error run as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.permissions.action_class import PLAIN
from machines_mcp.permissions.approval_details import CallRequest
from machines_mcp.permissions.policy import Rule, default_policy
from machines_mcp.protocol.arguments import parse, validate
from machines_mcp.protocol.errors import REPEATABLE, Code, ToolError
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.repeatable_calls import RepeatableCalls
from machines_mcp.protocol.tool import Tool
from machines_mcp.protocol.tool_call import ToolCall
from machines_mcp.protocol.toolset import TOOLSETS
from machines_mcp.storage.principal import Principal
from machines_mcp.testing import decide
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.error_mapping import map_error
from tests.support.stdio_client import applicant
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_error_mapping import EXPECTED

pytestmark = pytest.mark.anyio

USER, ANOTHER = "step-user", "another"
pinned_or_not = pytest.mark.parametrize("pinned", [None, USER], ids=["any user", "pinned"])
TERMS: dict[str, Any] = {"amount_cents": 1_000, "currency": "rusd", "network": "base", "address": "0x" + "1" * 40}
LIMIT: dict[str, Any] = {"limit_amount_cents": 2_000, "limit_frequency": "perYearPeriod"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "create_session": {"purpose": "kyc"},
    "resolve_user": {"wallet_address": "0x" + "2" * 40, "wallet_label": "Savings"},
    "submit_kyc": applicant(),
    "quote_deposit": {"currency": "rusd", "network": "base", "amount": 25},
    "create_deposit": {"currency": "rusd", "network": "base", "amount": 25},
    "get_deposit": {"deposit_id": "deposit-0123456789"},
    "quote_withdrawal": TERMS,
    "create_withdrawal": {"quote_id": "quote_" + "0" * 32},
    "get_withdrawal_transaction": {"withdrawal_id": "wd_" + "0" * 32},
    "confirm_withdrawal": {"withdrawal_id": "wd_" + "0" * 32, "transaction_hash": "0x" + "ab" * 32},
    "cancel_approval": {"approval_id": "0" * 32},
    "create_card": {"label": "Books", **LIMIT},
    "get_card": {"card_id": "card-0123456789"},
    "update_card": {"card_id": "card-0123456789", "label": "Food", **LIMIT},
    "close_card": {"card_id": "card-0123456789"},
    "reveal_card": {"card_id": "card-0123456789"},
}
ASK = [tool for tool in TOOLS if not PLAIN.issuperset(tool.action_classes)]


def _registry(pinned: str | None) -> Registry:
    return Registry(
        TOOLS,
        default_policy("embedded", read_only=False),
        Principal.of(pinned, None),
        toolsets=frozenset(TOOLSETS),
    )


def _call(tool: Tool, pinned: str | None) -> ToolCall:
    user = {} if pinned is not None or not tool.per_user else {"user_id": USER}
    arguments = validate(tool, {**ARGUMENTS.get(tool.name, {}), **user}, pinned)
    request = CallRequest(tool.name, tool.classify(arguments), getattr(arguments, "user_id", ""), "")
    return ToolCall(tool, arguments, request, Rule.ALLOW, "key")


def _given(call: ToolCall) -> dict[str, Any]:
    """Return the arguments that the model gave."""
    return ARGUMENTS.get(call.tool.name, {}) | (
        {"user_id": USER} if "user_id" in call.arguments.model_fields_set else {}
    )


def _errors(tool: Tool) -> list[ToolError]:
    mapped = [map_error(kind(outcome_known=known), tool) for kind in EXPECTED for known in (True, False)]
    return [error for error in mapped if error is not None] + [ToolError(code) for code in Code]


@pinned_or_not
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_steps_of_every_error_of_the_api_are_valid_calls(tool: Tool, pinned: str | None) -> None:
    registry, call = _registry(pinned), _call(tool, pinned)
    # A tool that asks Machines nothing has only the errors of this server.
    errors = _errors(tool) if tool.open_world else [ToolError(code) for code in Code]
    for error in errors:
        found = RepeatableCalls(registry).completed(error.payload(), call)
        assert found["next_steps"] or not error.retryable or error.code not in REPEATABLE, error.code
        for step in found["next_steps"]:
            if error.code not in REPEATABLE:
                assert step["tool"] != tool.name or step["arguments"] != _given(call), error.code
            assert step.keys() == {"tool", "why", "arguments"}
            called = registry.tools[step["tool"]]
            asks = called.name in registry.approvable_names
            parse(called, step["arguments"], pinned_user=pinned, forbidden=(), asks=asks)


async def _prepared(user: ToolCaller, tool: str, who: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call that a person must approve, after the calls that come before it."""
    if tool in ("submit_kyc", "resolve_user"):
        return ARGUMENTS[tool] | who
    for user_id in [*who.values(), ANOTHER] if who else []:
        # A server that is pinned to no user acts for those whom it has resolved.
        await user.call("resolve_user", user_id=user_id)
    async with user.sandbox.client() as partner:
        await partner.users.resolve(USER, wallet_address="0x" + "7a" * 20)
        await user.control("/kyc", userId=USER, decision="approved")
        if tool == "accept_agreements":
            return who
        await partner.agreements.accept(USER)
        card = await partner.cards.create(USER)
        deposit = await partner.deposits.create(USER, "rusd", "base", amount=100)
    await user.control("/deposits", depositId=deposit.id)
    if tool == "create_withdrawal":
        return {"quote_id": (await user.call("quote_withdrawal", **TERMS, **who))["quote_id"]} | who
    found = ARGUMENTS[tool] | who
    return found | {"card_id": card.card_id} if "card_id" in found else found


@pinned_or_not
@pytest.mark.parametrize(
    "tool",
    # A reveal that asks starts the vault's process; tests/server/test_card_reveals.py follows its step.
    [tool for tool in ASK if tool.name != "reveal_card"],
    ids=lambda tool: tool.name,
)
async def test_step_of_approval_required_runs_after_the_decision(
    tmp_path: Path, tool: Tool, pinned: str | None
) -> None:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
    async with caller(tmp_path, pinned, answer=None) as user:
        who = {} if pinned is not None else {"user_id": USER}
        arguments = await _prepared(user, tool.name, who)
        asked = await user.call(tool.name, **arguments)
        assert (asked["code"], asked["retryable"]) == ("approval.required", False), asked
        step = asked["next_steps"][0]
        shown = {name: value for name, value in arguments.items() if name not in tool.withheld}
        assert step["arguments"] == {**shown, "approval_id": asked["approval_id"], "wait_seconds": 30}
        assert set(asked.get("give_again", [])) == tool.withheld & arguments.keys()
        mismatch = await user.call(tool.name, **step["arguments"] | {"user_id": ANOTHER}) if pinned is None else None
        assert mismatch is None or mismatch["code"] == "approval.mismatch"
        assert await decide(env, asked["approval_id"]) == "granted"
        done = await user.call(step["tool"], **step["arguments"])
    assert "code" not in done, done


BAD: dict[str, list[dict[str, Any]]] = {
    "quote_withdrawal": [
        {"amount_cents": 1},
        {"amount_cents": 10**9},
        {"address": "0x" + "2" * 39},
        {"currency": "none"},
        {"extra_id": "123"},
    ],
    "quote_deposit": [{"currency": "none"}, {"network": "none"}],
    "create_deposit": [{"currency": "none"}, {"network": "none"}],
    "list_cards": [{"cursor": "garbage"}],
    "list_transactions": [{"cursor": "garbage"}],
    "get_card": [{}],
    "get_deposit": [{}],
    "close_card": [{}],
    "create_withdrawal": [{}],
    "get_withdrawal_transaction": [{}],
    "confirm_withdrawal": [{}],
}


@pinned_or_not
async def test_no_step_repeats_what_machines_or_the_tool_refused(tmp_path: Path, pinned: str | None) -> None:
    who = {} if pinned is not None else {"user_id": USER}
    async with caller(tmp_path, pinned) as user:
        await user.call("resolve_user", **who)
        async with user.sandbox.client() as partner:
            await user.control("/kyc", userId=USER, decision="approved")
            await partner.agreements.accept(USER)
        for name, wrong in BAD.items():
            for each in wrong:
                given = ARGUMENTS.get(name, {}) | each | who
                refused = await user.call(name, **given)
                assert "code" in refused, (name, each)
                for step in refused["next_steps"]:
                    assert (step["tool"], step["arguments"]) != (name, given), refused
                    assert "code" not in await user.call(step["tool"], **step["arguments"]), (refused, step)


async def test_another_server_of_the_folder_says_what_it_lacks(tmp_path: Path) -> None:
    tool, arguments, hidden = "submit_kyc", applicant(), sorted(applicant())
    async with caller(tmp_path, USER, answer=None) as first:
        step = (await first.call(tool, **arguments))["next_steps"][0]["arguments"] | {"wait_seconds": 0}
        async with caller(tmp_path, USER, answer=None, sandbox=first.sandbox) as second:
            told = await second.call(tool, **step)
            assert (told["code"], sorted(told["give_again"])) == ("approval.mismatch", hidden)
            assert sorted(each["field"] for each in told["fields"]) == hidden
            assert [each["tool"] for each in told["next_steps"]] == ["status"]
            again = step | {name: arguments[name] for name in told["give_again"]}
            assert (await second.call(tool, **again))["code"] == "approval.required"
        assert (await first.call(tool, **step))["code"] == "approval.required"
