"""A session makes its user at Machines, so a call opens one only for a user whom somebody meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import MCPError

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.storage.database import Store
from machines_mcp.storage.known_users import KnownUsers
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.tools.catalog import TOOLS
from tests.protocol.test_every_action_class import CALLS
from tests.support.in_process import InProcessSandbox
from tests.support.older_folder import before_migration
from tests.support.stdio_client import ERAS, Era, agent
from tests.support.tool_caller import caller

pytestmark = pytest.mark.anyio

TYPO = "user-1"
READS = [
    pytest.param(tool.name, CALLS[tool.name][ActionClass.READ], id=tool.name)
    for tool in TOOLS
    if tool.per_user and ActionClass.READ in tool.action_classes
]
CHANGES = [
    pytest.param(name, arguments, id=f"{name}-{action_class}")
    for name, calls in CALLS.items()
    for action_class, arguments in calls.items()
    if action_class is not ActionClass.READ
]
MAKERS = ["create_session", "resolve_user", "submit_kyc"]
OTHER_CALLS = [
    (tool.name, action_class)
    for tool in TOOLS
    if tool.per_user and tool.name not in MAKERS
    for action_class in CALLS[tool.name]
]


def users(sandbox: InProcessSandbox) -> list[str]:
    """Return the users that exist at Machines."""
    return [row["user_id"] for row in sandbox.state.rows("SELECT user_id FROM users ORDER BY user_id")]


def policy(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(f'version = 1\nenvironment = "embedded"\n{text}', encoding="ascii")
    path.chmod(0o600)
    return path


def ask_all(folder: Path, users: str = '"any"') -> Path:
    classes = "".join(f'{name} = "ask"\n' for name in ActionClass)
    return policy(folder, f"users = {users}\n[classes]\n{classes}[cards]\nunbounded = true\n")


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(("tool", "arguments"), READS)
async def test_a_read_makes_no_user(tool: str, arguments: dict[str, Any], read_only: bool, tmp_path: Path) -> None:
    async with caller(tmp_path, None, read_only=read_only) as c:
        assert (await c.call(tool, **arguments))["code"] == "user.unknown"
        assert users(c.sandbox) == []


@pytest.mark.parametrize(("tool", "arguments"), READS)
async def test_a_read_acts_for_a_user_whom_another_server_of_the_folder_resolved(
    tool: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    async with caller(tmp_path, None, read_only=True) as reader:
        assert (await reader.call(tool, **arguments))["code"] == "user.unknown"
        async with caller(tmp_path, None, sandbox=reader.sandbox) as c:
            assert (await c.call("resolve_user", user_id=TYPO))["user_id"] == TYPO
        assert (await reader.call(tool, **arguments)).get("code") != "user.unknown"


@pytest.mark.parametrize("tool", ["resolve_user", "create_session"])
async def test_a_user_stays_known_after_a_restart(tool: str, tmp_path: Path) -> None:
    async with caller(tmp_path, None) as c:
        await c.call(tool, **CALLS[tool][ActionClass.WRITE])
        async with caller(tmp_path, None, read_only=True, sandbox=c.sandbox) as restarted:
            assert "fields" in await restarted.call("get_kyc_requirements", user_id=TYPO)


@pytest.mark.parametrize(("tool", "action_class"), OTHER_CALLS)
async def test_only_the_tools_that_are_for_it_make_a_user(tool: str, action_class: ActionClass, tmp_path: Path) -> None:
    async with caller(tmp_path, None) as c:
        error = await c.call(tool, **CALLS[tool][action_class])
        (step,) = error["next_steps"]
        assert (error["code"], step["tool"], users(c.sandbox)) == ("user.unknown", "resolve_user", [])
        assert (await c.call(step["tool"], **step["arguments"]))["user_id"] == TYPO
        assert (await c.call(tool, **CALLS[tool][action_class])).get("code") != "user.unknown"


@pytest.mark.parametrize("tool", MAKERS)
async def test_tools_that_are_for_it_make_the_user(tool: str, tmp_path: Path) -> None:
    (arguments,) = list(CALLS[tool].values())[-1:]
    async with caller(tmp_path, None) as c:
        assert "code" not in await c.call(tool, **arguments)
        assert users(c.sandbox) == [TYPO]


@pytest.mark.parametrize("purpose", ["funding", "cards"])
async def test_session_that_a_new_user_can_not_have_makes_no_user(purpose: str, tmp_path: Path) -> None:
    async with caller(tmp_path, None) as c:
        assert (await c.call("create_session", user_id=TYPO, purpose=purpose))["code"] == "user.unknown"
        assert users(c.sandbox) == []


async def test_call_that_the_policy_allows_makes_no_user(tmp_path: Path) -> None:
    classes = "".join(f'{name} = "allow"\n' for name in ActionClass if name is not ActionClass.REVEAL)
    rules = policy(tmp_path, f'users = "any"\n[classes]\n{classes}[cards]\nunbounded = true\n')
    async with caller(tmp_path / "state", None, policy=rules) as c:
        for tool, action_class in OTHER_CALLS:
            error = await c.call(tool, **CALLS[tool][action_class])
            assert error["code"] in ("user.unknown", "input.invalid", "policy.denied"), tool
        assert users(c.sandbox) == []


@pytest.mark.parametrize("by", ["pinned", "policy"])
async def test_a_read_acts_for_a_user_whom_the_operator_named(by: str, tmp_path: Path) -> None:
    rules = policy(tmp_path, f'users = ["{TYPO}"]\n')
    async with caller(tmp_path / "state", TYPO if by == "pinned" else None, read_only=True, policy=rules) as c:
        given = {} if by == "pinned" else {"user_id": TYPO}
        assert "fields" in await c.call("get_kyc_requirements", **given)
        assert users(c.sandbox) == [TYPO]
        if by == "policy":
            assert (await c.call("get_balances", user_id="user-2"))["code"] == "not_found"
            assert users(c.sandbox) == [TYPO]


async def test_the_next_step_resolves_the_user_and_the_read_can_be_repeated(tmp_path: Path) -> None:
    async with caller(tmp_path, None) as c:
        error = await c.call("get_balances", user_id=TYPO)
        (step,) = error["next_steps"]
        assert (step["tool"], step["arguments"], error["retryable"]) == ("resolve_user", {"user_id": TYPO}, True)
        assert (await c.call(step["tool"], **step["arguments"]))["user_id"] == TYPO
        assert "fields" in await c.call("get_kyc_requirements", user_id=TYPO)


@pytest.mark.parametrize("denied", ["read only", "tool", "class"])
async def test_without_leave_to_resolve_only_the_operator_can_name_the_user(denied: str, tmp_path: Path) -> None:
    text = {"tool": '[tools]\nresolve_user = {write = "deny"}\n', "class": '[classes]\nwrite = "deny"\n'}.get(
        denied, ""
    )
    rules = policy(tmp_path, text)
    async with caller(tmp_path / "state", None, read_only=denied == "read only", policy=rules) as c:
        error = await c.call("get_balances", user_id=TYPO)
    assert (error["code"], error["retryable"], error["next_steps"]) == ("user.unknown", False, [])
    assert "ask the operator to name this user" in error["message"]


async def test_resources_and_completion_make_no_user(tmp_path: Path) -> None:
    async with caller(tmp_path, None) as c:
        for template in (await c.client.list_resource_templates()).resource_templates:
            uri = template.uri_template.format(user_id=TYPO, card_id="card-1")
            with pytest.raises(MCPError):
                await c.client.read_resource(uri)
        for prompt in (await c.client.list_prompts()).prompts:
            for argument in prompt.arguments or []:
                ref = types.PromptReference(type="ref/prompt", name=prompt.name)
                named = {"name": argument.name, "value": ""}
                await c.client.complete(ref, named, context_arguments={"user_id": TYPO})
        assert users(c.sandbox) == []


@pytest.mark.parametrize(("tool", "arguments"), CHANGES)
async def test_a_call_that_asks_makes_no_user_before_a_person_approves(
    tool: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    async with caller(tmp_path / "state", None, answer=None, policy=ask_all(tmp_path)) as c:
        found = await c.call(tool, **arguments)
        assert found["code"] in ("approval.required", "user.unknown", "input.invalid", "not_found"), found
        assert users(c.sandbox) == []


async def _knows(folder: Path, user_id: str) -> bool:
    store = Store(folder)
    try:
        return await KnownUsers(store, ANY_USER).knows(user_id)
    finally:
        await store.close()


async def test_users_of_a_folder_from_before_are_known_by_what_succeeded_for_them(tmp_path: Path) -> None:
    audit = "INSERT INTO audit (seq, at, kind, tool, action_class, user_id, code, policy, mac) VALUES"
    journal = (
        "INSERT INTO mutations"
        " (id, tool, user_id, operation, body_hash, ids, attempts, state, owner, created_at, sent_at, last_sent_at)"
        " VALUES"
    )
    with before_migration("known_users", tmp_path) as db:
        for seq, (kind, user_id, code) in enumerate(
            [
                ("outcome", "opened", "ok"),
                ("outcome", "failed", "internal"),
                ("call", "read", "ok"),
                ("outcome", "~1", "ok"),
            ]
        ):
            db.execute(f"{audit} (?, 1.0, ?, 'create_session', 'write', ?, ?, '', x'00')", (seq, kind, user_id, code))
        for name, state in (("resolved", "done"), ("refused", "rejected"), ("", "done")):
            db.execute(f"{journal} (?, 't', ?, 'o', '', '[]', 1, ?, '', 1.0, 1.0, 1.0)", (name, name, state))
    found = [name for name in ("opened", "failed", "read", "~1", "resolved", "refused") if await _knows(tmp_path, name)]
    assert found == ["opened", "resolved"]


@pytest.mark.check
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_over_stdio_makes_no_user(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, who=TYPO) as a:
        for tool in ("get_balances", "create_card", "accept_agreements"):
            assert await a.refusal(tool) == ("user.unknown", "resolve_user")
        await a.call("resolve_user")
        await a.call("get_kyc_requirements")
    async with agent(tmp_path, era, who="user-2", MACHINES_READ_ONLY="true") as a:
        assert await a.refusal("get_balances") == ("user.unknown", None)
