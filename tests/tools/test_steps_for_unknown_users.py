"""No step of an error ends in `user.unknown`, if it is called for the user of the failed call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import CallRequest
from machines_mcp.permissions.policy import Policy, Rule, default_policy
from machines_mcp.protocol.arguments import parse
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.repeatable_calls import RepeatableCalls
from machines_mcp.protocol.tool import Tool
from machines_mcp.protocol.tool_call import ToolCall
from machines_mcp.protocol.toolset import TOOLSETS
from machines_mcp.protocol.user_check import RESOLVE, UserCheck
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.known_users import KnownUsers
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.testing import Era
from machines_mcp.tools.catalog import TOOLS
from tests.support.state import store as store
from tests.support.tool_caller import caller
from tests.tools.test_next_steps_of_errors import USER, _call, _errors

pytestmark = pytest.mark.anyio

POLICIES: dict[str, Policy] = {
    "writes are allowed": default_policy("embedded", read_only=False),
    "everything asks": replace(default_policy("embedded", read_only=False), rules=dict.fromkeys(ActionClass, Rule.ASK)),
}
PER_USER = [tool for tool in TOOLS if tool.per_user]


def _step_call(registry: Registry, name: str, arguments: dict[str, object]) -> ToolCall:
    """Return the call that a step leads to."""
    tool = registry.tools[name]
    found = parse(tool, arguments, pinned_user=None, forbidden=(), asks=name in registry.approvable_names).arguments
    request = CallRequest(name, tool.classify(found), getattr(found, "user_id", ""), "")
    return ToolCall(tool, found, request, registry.policy.rule(request.action_class, name), "key")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("tool", PER_USER, ids=lambda tool: tool.name)
async def test_steps_of_every_error_can_be_called_for_a_new_user(store: Store, tool: Tool, policy: str) -> None:
    registry = Registry(TOOLS, POLICIES[policy], ANY_USER, toolsets=frozenset(TOOLSETS))
    check, call, repeats = (
        UserCheck(registry, KnownUsers(store, ANY_USER)),
        _call(tool, None),
        RepeatableCalls(registry),
    )
    call = replace(call, rule=registry.policy.rule(call.request.action_class, tool.name))
    try:
        await check.require(call)
        errors = _errors(tool)
    except ToolError as unknown:
        errors = [unknown]
    steps = 0
    for error in errors:
        found = await check.reachable(repeats.completed(error.payload(), call), call)
        before = repeats.completed(error.payload(), call)["next_steps"]
        assert bool(found["next_steps"]) == bool(before), error.code
        for step in found["next_steps"]:
            await check.require(_step_call(registry, step["tool"], step["arguments"]))
            steps += 1
    assert steps


async def test_steps_for_a_known_user_stay(store: Store) -> None:
    registry, known = _registry_and_users(store)
    await known.succeeded(USER, changed=True)
    check, call = UserCheck(registry, known), _call(registry.tools["create_session"], None)
    payload = ToolError(Code.KYC_NOT_APPROVED, next_steps=[]).payload() | {
        "next_steps": [{"tool": "get_kyc_status", "why": "See.", "arguments": {"user_id": USER}}]
    }
    assert await check.reachable(payload, call) == payload
    assert await check.reachable(payload, None) == payload


async def test_several_unusable_steps_become_one(store: Store) -> None:
    registry, known = _registry_and_users(store)
    check, call = UserCheck(registry, known), _call(registry.tools["create_card"], None)
    names = ["create_card", "list_cards", "status", "get_balances"]
    payload = ToolError(Code.OUTCOME_UNKNOWN).payload() | {
        "next_steps": [{"tool": name, "why": f"Look at {name}.", "arguments": {}} for name in names]
    }
    found = (await check.reachable(payload, call))["next_steps"]
    assert [step["tool"] for step in found] == ["create_card", RESOLVE, "status"]
    assert found[1]["arguments"] == {"user_id": USER}
    assert found[1]["why"].endswith("Then list_cards: Look at list_cards.")


class _Unreadable(KnownUsers):
    async def knows(self, user_id: str) -> bool:
        raise StoreUnavailable


async def test_steps_stay_if_the_users_can_not_be_read(store: Store) -> None:
    registry, _ = _registry_and_users(store)
    check, call = UserCheck(registry, _Unreadable(store, ANY_USER)), _call(registry.tools["create_card"], None)
    payload = ToolError(Code.STATE_UNAVAILABLE).payload() | {
        "next_steps": [{"tool": "list_cards", "why": "See.", "arguments": {}}]
    }
    assert await check.reachable(payload, call) == payload


def _registry_and_users(store: Store) -> tuple[Registry, KnownUsers]:
    policy = POLICIES["writes are allowed"]
    return Registry(TOOLS, policy, ANY_USER, toolsets=frozenset(TOOLSETS)), KnownUsers(store, ANY_USER)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("purpose", ["cards", "funding"])
async def test_session_for_a_new_user_leads_through_resolve_user(tmp_path: Path, mode: Era, purpose: str) -> None:
    async with caller(tmp_path, None, mode=mode) as user:
        refused = await user.call("create_session", user_id=USER, purpose=purpose)
        (step,) = refused["next_steps"]
        assert (refused["code"], step["tool"]) == ("user.unknown", RESOLVE)
        while step["tool"] != "submit_kyc":
            found = await user.call(step["tool"], **step["arguments"])
            assert "code" not in found, (step, found)
            step = found["next_steps"][0]


async def test_error_for_a_new_user_says_what_to_do_without_leave_to_resolve(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    text = 'version = 1\nenvironment = "embedded"\nusers = "any"\n[tools]\nresolve_user = "deny"\n'
    policy.write_text(text, encoding="ascii")
    policy.chmod(0o600)
    async with caller(tmp_path / "state", None, policy=policy) as user:
        refused = await user.call("create_session", user_id=USER, purpose="cards")
    assert (refused["code"], refused["next_steps"]) == ("user.unknown", [])
    assert "ask the operator to name this user" in refused["message"]
