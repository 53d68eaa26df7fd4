"""A model that asks without end: a ceiling on what waits for each user, and a `status` that stays short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.permissions.policy import WAITING_PER_USER
from machines_mcp.redaction.output_filter import MAX_LINE
from machines_mcp.testing import decide
from machines_mcp.tools.status import MAX_LISTED
from tests.support.known_users import introduce
from tests.support.stdio_client import applicant
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio


def policy(folder: Path, more: str = "", classes: str = 'write = "ask"') -> Path:
    path = folder / "policy.toml"
    text = f'version = 1\nenvironment = "embedded"\n[classes]\n{classes}\n[cards]\nunbounded = true\n{more}'
    path.write_text(text, encoding="ascii")
    path.chmod(0o600)
    return path


async def ask_until_refused(c: ToolCaller, most: int = 200, **arguments: Any) -> list[dict[str, Any]]:
    """Ask for different deposits until one is refused, and return all answers."""
    answers: list[dict[str, Any]] = []
    for amount in range(1, most):
        answers.append(await c.call("create_deposit", currency="rusd", network="base", amount=amount, **arguments))
        if answers[-1]["code"] != "approval.required":
            break
    return answers


async def test_twenty_approvals_of_a_user_wait_at_once(tmp_path: Path) -> None:
    rules = policy(tmp_path)
    async with caller(tmp_path / "state", answer=None, policy=rules) as c:
        *asked, refused = await ask_until_refused(c)
        assert len(asked) == WAITING_PER_USER == 20
        assert (refused["code"], refused["limit"]) == ("policy.denied", "approval.waiting_per_user")
        # An equal call gets its own approval again, and another user has a ceiling of their own.
        again = await c.call("create_deposit", currency="rusd", network="base", amount=1)
        assert again["approval_id"] == asked[0]["approval_id"]
        async with caller(tmp_path / "state", "user-2", answer=None, policy=rules, sandbox=c.sandbox) as other:
            assert (await other.call("create_deposit", currency="rusd", network="base"))["code"] == "approval.required"
        env = {"MACHINES_STATE_DIR": str(tmp_path / "state"), "MACHINES_POLICY": str(rules)}
        assert await decide(env, asked[5]["approval_id"], yes=False) == "refused"
        assert (await c.call("create_deposit", currency="rusd", network="base", amount=900))["code"] != "policy.denied"


async def test_the_ceiling_is_set_in_the_policy_and_spares_locking_a_card(tmp_path: Path) -> None:
    rules = policy(tmp_path, "[approval]\nwaiting_per_user = 3\n")
    async with caller(tmp_path / "state", policy=rules) as c:
        await c.approved()
        card = (await c.call("create_card"))["card_id"]
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as asking:
            assert len(await ask_until_refused(asking)) == 4
            lock = await asking.call("update_card", card_id=card, status="locked")
            assert lock["code"] == "approval.required"


async def test_status_lists_the_newest_calls_and_counts_the_others(tmp_path: Path) -> None:
    rules = policy(tmp_path, "[approval]\nwaiting_per_user = 500\n")
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")}
    async with caller(tmp_path / "state", None, answer=None, policy=rules) as c:
        await introduce(env, "user-0", "user-1", "user-2")
        asked = []
        for number in range(1, 61):
            deposit = {"user_id": f"user-{number % 3}", "currency": "rusd", "network": "base", "amount": number}
            asked.append(await c.call("create_deposit", **deposit))
        status = await c.call("status")
        ids = [each["approval_id"] for each in asked]
        assert [each["approval_id"] for each in status["waiting"]] == ids[-MAX_LISTED:]
        assert status["not_listed"] == "Not listed: 40 more waiting for approval."
        answer = await c.client.call_tool("status", {})
        assert "40 more waiting for approval" in str(answer.content[1])


async def test_status_is_never_withheld(tmp_path: Path) -> None:
    rules = policy(tmp_path, "[approval]\nwaiting_per_user = 500\n", 'write = "ask"\nidentity = "ask"')
    user_id = '"\\' * 60
    async with caller(tmp_path / "state", None, answer=None, policy=rules) as c:
        for number in range(60):
            given = applicant() | {"first_name": f"Ada {'x' * (number % 40)}"}
            await c.call("submit_kyc", user_id=user_id, **given)
        answer = await c.client.call_tool("status", {})
        assert answer.structured_content is not None and len(answer.structured_content["waiting"]) == MAX_LISTED
        assert len(answer.model_dump_json()) < MAX_LINE
