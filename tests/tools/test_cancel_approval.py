"""`cancel_approval` withdraws a request of this process that still waits, asks nobody and sends nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import PolicyError, Rule
from machines_mcp.permissions.policy_explanation import explain_rule
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import load_policy_file, open_guard
from machines_mcp.testing import Era, decide
from tests.support.stdio_client import ERAS, applicant
from tests.support.tool_caller import ToolCaller, caller
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

UNKNOWN = "0" * 32


def database(c: ToolCaller) -> Path:
    return c.state_dir / "embedded" / "state.db"


def change(c: ToolCaller, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(database(c))) as db, db:
        db.execute(statement, values)


def rows(c: ToolCaller, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database(c))) as db:
        return db.execute(query).fetchall()


def env(c: ToolCaller) -> dict[str, str]:
    return {"MACHINES_STATE_DIR": str(c.state_dir)}


def policy(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(f'version = 1\nenvironment = "embedded"\n{text}', encoding="ascii")
    path.chmod(0o600)
    return path


async def asked(c: ToolCaller) -> str:
    """Ask for the user's link to a wallet, which a person must approve, and return the approval's id."""
    required = await c.call("resolve_user", wallet_address="0x" + "ab" * 20)
    assert required["code"] == "approval.required"
    return str(required["approval_id"])


async def repeat(c: ToolCaller, **more: Any) -> dict[str, Any]:
    return await c.call("resolve_user", wallet_address="0x" + "ab" * 20, **more)


@pytest.mark.parametrize("era", ERAS)
async def test_withdrawn_request_is_gone_and_its_call_asks_anew(tmp_path: Path, era: Era) -> None:
    async with caller(tmp_path, mode=era, answer=None) as c:
        approval_id = await asked(c)
        for _ in range(2):
            found = await c.call("cancel_approval", approval_id=approval_id)
            told = {"approval_id": approval_id, "tool": "resolve_user", "status": "withdrawn"}
            assert found == told | {"next_steps": [], "environment": "embedded", "simulated": True}
        assert (await c.call("status"))["waiting"] == []
        assert rows(c, "SELECT state, decided_by FROM approvals") == [("refused", "withdrawn")]
        gone = await repeat(c, approval_id=approval_id)
        assert (gone["code"], gone["retryable"], gone["next_steps"]) == ("approval.withdrawn", False, [])
        anew = await repeat(c)
        assert (anew["code"], anew["approval_id"] == approval_id) == ("approval.required", False)
        assert rows(c, "SELECT count(*) FROM mutations") == [(0,)]


async def test_request_of_another_process_or_user_is_as_unknown_as_any_id(tmp_path: Path) -> None:
    async with (
        caller(tmp_path, answer=None) as ours,
        caller(tmp_path, answer=None, sandbox=ours.sandbox) as twin,
        caller(tmp_path, "another-user", answer=None, sandbox=ours.sandbox) as stranger,
    ):
        unknown = await ours.call("cancel_approval", approval_id=UNKNOWN)
        assert (unknown["code"], [step["tool"] for step in unknown["next_steps"]]) == ("not_found", ["status"])
        theirs, own = await asked(stranger), await asked(ours)
        # An equal call of another process shares the request, but did not make it.
        assert await asked(twin) == own
        for c, approval_id in ((ours, theirs), (stranger, own), (twin, own)):
            assert await c.call("cancel_approval", approval_id=approval_id) == unknown
        assert rows(ours, "SELECT DISTINCT state FROM approvals") == [("waiting",)]
        assert (await ours.call("cancel_approval", approval_id=own))["status"] == "withdrawn"
    async with caller(tmp_path, "another-user", answer=None) as restarted:
        assert await restarted.call("cancel_approval", approval_id=theirs) == unknown


async def test_request_for_any_user_of_the_server_is_withdrawn_without_naming_them(tmp_path: Path) -> None:
    async with caller(tmp_path, None, answer=None) as c:
        given = {"user_id": "ann", "wallet_address": "0x" + "ab" * 20}
        approval_id = (await c.call("resolve_user", **given))["approval_id"]
        assert (await c.call("cancel_approval", approval_id=approval_id))["status"] == "withdrawn"


LATE = {
    "granted": ("UPDATE approvals SET state = 'granted'", []),
    "executing": ("UPDATE approvals SET state = 'executing', owner = ''", ["resolve_user"]),
    "done": ("UPDATE approvals SET state = 'done', outcome = '{}'", ["resolve_user"]),
    "failed": ("UPDATE approvals SET state = 'failed', outcome = '{}'", ["resolve_user"]),
    "refused": ("UPDATE approvals SET state = 'refused', decided_by = 'desk'", []),
    "expired": ("UPDATE approvals SET expires_at = 1", []),
}
"""How a request no longer waits, and the tool that shows what its call did."""


@pytest.mark.parametrize("status", LATE)
async def test_request_that_no_longer_waits_is_left_alone_with_its_state_and_what_to_do(
    tmp_path: Path, status: str
) -> None:
    async with caller(tmp_path, answer=None) as c:
        approval_id = await asked(c)
        statement, steps = LATE[status]
        change(c, statement)
        before = rows(c, "SELECT * FROM approvals")
        found = await c.call("cancel_approval", approval_id=approval_id)
        assert (found["code"], found["status"], found["retryable"]) == ("approval.not_waiting", status, False)
        assert [step["tool"] for step in found["next_steps"]] == steps
        assert ("expires_at" in found) == (status == "granted")
        assert ("approval_id for its outcome" in found["message"]) == bool(steps)
        assert rows(c, "SELECT * FROM approvals") == before


@pytest.mark.parametrize("given", [{}, {"approval_id": "0" * 31}, {"approval_id": UNKNOWN, "user_id": "ann"}])
async def test_wrong_arguments_are_named(tmp_path: Path, given: dict[str, Any]) -> None:
    async with caller(tmp_path, answer=None) as c:
        assert (await c.call("cancel_approval", **given))["code"] == "input.invalid"


@pytest.mark.parametrize("era", ERAS)
async def test_waiting_for_the_decision_ends_with_the_withdrawal(tmp_path: Path, era: Era) -> None:
    async with caller(tmp_path, mode=era, answer=None) as c:
        approval_id, ended = await asked(c), list[dict[str, Any]]()

        async def wait() -> None:
            ended.append(await repeat(c, approval_id=approval_id, wait_seconds=50))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                assert (await c.call("cancel_approval", approval_id=approval_id))["status"] == "withdrawn"
        assert [(found["code"], "still_waiting" in found) for found in ended] == [("approval.withdrawn", False)]


async def test_it_asks_nobody_if_writes_ask_and_works_while_frozen_over_any_rate(tmp_path: Path) -> None:
    rules = '[classes]\nwrite = "ask"\n[rates]\nasks_per_minute = 2\nmutations_per_hour = 1\nlocks_per_hour = 1\n'
    async with caller(tmp_path / "state", answer=None, policy=policy(tmp_path, rules)) as c:
        first, second = await asked(c), (await c.call("create_session", purpose="kyc"))["approval_id"]
        async with open_guard(read_settings(env(c))) as guard:
            await guard.freezes.freeze("terminal", "")
        for approval_id in (first, second):
            assert (await c.call("cancel_approval", approval_id=approval_id))["status"] == "withdrawn"
            assert (await c.call("cancel_approval", approval_id=UNKNOWN))["code"] == "not_found"
        left = {each["limit"]: each.get("left") for each in (await c.call("status"))["budgets"]}
        assert (left["rates.mutations_per_hour"], left["rates.locks_per_hour"]) == (1, 1)
        assert left["rates.asks_per_minute"] == 0
        async with open_guard(read_settings(env(c))) as guard:
            await guard.freezes.lift("terminal", None, "")
        assert (await repeat(c))["limit"] == "rates.asks_per_minute"


def test_policy_says_that_it_asks_nobody_and_can_allow_it_alone(tmp_path: Path) -> None:
    asks = load_policy_file(policy(tmp_path, '[classes]\nwrite = "ask"\n'), "embedded", read_only=False, user_id=None)
    told = explain_rule(asks, ActionClass.WRITE, "cancel_approval")
    assert told == "runs at once, because it asks nobody (classes.write)"
    path = tmp_path / "production.toml"
    path.write_text('version = 1\nenvironment = "production"\nusers = ["ann"]\n[tools]\ncancel_approval = "allow"\n')
    path.chmod(0o600)
    alone = load_policy_file(path, "production", read_only=False, user_id=None)
    found = [alone.rule(ActionClass.WRITE, tool) for tool in ("cancel_approval", "create_session")]
    assert found == [Rule.ALLOW, Rule.DENY]


async def test_policy_can_deny_it_and_can_not_make_it_ask(tmp_path: Path) -> None:
    denies = policy(tmp_path, '[tools]\ncancel_approval = "deny"\n')
    async with caller(tmp_path / "state", answer=None, policy=denies) as c:
        approval_id = await asked(c)
        assert (await c.call("cancel_approval", approval_id=approval_id))["code"] == "policy.denied"
        assert "cancel_approval" not in {tool.name for tool in (await c.client.list_tools()).tools}
    for text in ('[tools]\ncancel_approval = "ask"\n', '[tools.cancel_approval]\nwrite = "ask"\n'):
        with pytest.raises(PolicyError, match=r"tools\.cancel_approval must be allow or deny"):
            load_policy_file(policy(tmp_path, text), "embedded", read_only=False, user_id=None)


async def test_refusals_pause_as_if_nothing_had_been_withdrawn(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        for _ in range(3):
            await c.call("cancel_approval", approval_id=await asked(c))
        for _ in range(3):
            assert await decide(env(c), await asked(c), yes=False) == "refused"
        paused = await repeat(c)
        assert (paused["code"], "cooldown_until" in paused) == ("policy.denied", True)


async def test_withdrawal_is_in_the_audit_log_with_its_user(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        approval_id = await asked(c)
        await c.call("cancel_approval", approval_id=approval_id)
    # The server has ended, so each row is written.
    async with open_guard(read_settings(env(c) | {"MACHINES_USER_ID": "tool-user"})) as guard:
        found = await guard.audit.rows(guard.principal, limit=20)
    about = [row for row in found if row.tool == "cancel_approval" or row.kind == "decision"]
    told = [(row.kind, row.tool, row.verdict, row.user_id) for row in about]
    assert sorted(told) == [
        ("call", "cancel_approval", "executing", "tool-user"),
        ("decision", "resolve_user", "withdrawn", "tool-user"),
        ("outcome", "cancel_approval", None, "tool-user"),
    ]


async def test_identity_data_is_not_kept_for_a_withdrawn_call(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        required = await c.call("submit_kyc", **applicant())
        approval_id = required["approval_id"]
        # The server keeps the data for the repeated call.
        again = await c.call("submit_kyc", approval_id=approval_id)
        assert again["code"] == "approval.required"
        await c.call("cancel_approval", approval_id=approval_id)
        told = await c.call("submit_kyc", approval_id=approval_id)
        assert told["code"] == "approval.mismatch"
        assert "missing" in json.dumps(told["fields"])
