"""The effect of the operator's policy on the tools and on `status`."""

from __future__ import annotations

import json
from contextvars import Context
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner
from mcp import Client

from machines_mcp.cli.main import main
from machines_mcp.server.app import opened
from machines_mcp.server.settings import Settings
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.testing import set_passphrase
from machines_mcp.vault.keypair import make_key_pair
from tests.support.tool_caller import ToolCaller, caller
from tests.support.waiting import PATIENCE
from tests.tools.test_withdrawals import ADDRESS, funded

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"
REAL = {"MACHINES_PARTNER_KEY": "mk-test-0123456789", "MACHINES_USER_ID": "user-1"}


def _policy(folder: Path, text: str, environment: str = "embedded") -> Path:
    path = folder / "policy.toml"
    path.write_text(f'version = 1\nenvironment = "{environment}"\n{text}', encoding="utf-8")
    path.chmod(0o600)
    return path


def _where(folder: Path, environment: str) -> dict[str, str]:
    return {"MACHINES_ENV": environment, "MACHINES_STATE_DIR": str(folder / "state")}


async def _call(settings: Settings, tool: str, **arguments: Any) -> dict[str, Any]:
    async with opened(settings) as app, Client(app.server()) as client:
        with anyio.fail_after(PATIENCE):
            answer = await client.call_tool(tool, arguments)
    body: dict[str, Any] = json.loads(getattr(answer.content[0], "text", ""))
    return body


LIMITS = """
[tools]
close_card = "deny"
update_card = { money = "deny" }
[cards.max_limit_cents]
per30DayPeriod = 5_000
[withdrawals]
per_day_cents = 900
[rates]
asks_per_minute = 100
"""


async def test_status_shows_policy_exceptions_and_budgets(tmp_path: Path) -> None:
    async with caller(tmp_path / "state", policy=_policy(tmp_path, LIMITS)) as c:
        status = await c.call("status")
        assert status["policy"].startswith("file ")
        assert len(status["policy"]) == len("file ") + 12
        assert "passphrase_set_at" not in status
        rules = {found["action"]: (found["rule"], found.get("reason")) for found in status["permissions"]}
        assert rules["destroy"] == (
            "ask",
            "requires approval in the client's dialog, at the desk or at a terminal (classes.destroy)",
        )
        assert rules["close_card.destroy"] == ("deny", "the policy denies close_card (destroy)")
        assert rules["update_card.money"] == ("deny", "the policy denies update_card (money)")
        assert "update_card.write" not in rules
        assert status["budgets"] == [
            {"limit": "withdrawals.per_day_cents", "most": 900, "left": 900},
            {"limit": "cards.max_limit_cents.per30DayPeriod", "most": 5000},
            {"limit": "rates.asks_per_minute", "most": 100, "left": 100},
            {"limit": "rates.locks_per_hour", "most": 5, "left": 5},
            {"limit": "approval.waiting_per_user", "most": 20, "left": 20},
            {"limit": "rates.total.asks_per_minute", "most": 1000, "left": 1000},
        ]
        await c.call("submit_kyc")
        await c.approved()
        budget = (await c.call("status"))["budgets"][2]
        assert budget["limit"] == "rates.asks_per_minute"
        assert budget["left"] < 100


async def test_tool_follows_its_own_rule_and_the_limits(tmp_path: Path) -> None:
    async with caller(tmp_path / "state", policy=_policy(tmp_path, LIMITS)) as c:
        await c.approved()
        for limit in ({}, {"limit_amount_cents": 5, "limit_frequency": "perAuthorization"}):
            refused = await c.call("create_card", **limit)
            assert (refused["code"], refused["limit"]) == ("policy.denied", "cards.unbounded")
        for cents, period, path in (
            (5001, "per30DayPeriod", "cards.max_limit_cents.per30DayPeriod"),
            (1, "allTime", "cards.max_limit_cents.allTime"),
        ):
            refused = await c.call("create_card", limit_amount_cents=cents, limit_frequency=period)
            assert (refused["code"], refused["limit"]) == ("policy.denied", path)
        assert (await c.call("list_cards"))["cards"] == []
        card = await c.call("create_card", limit_amount_cents=5000, limit_frequency="per30DayPeriod")
        locked = await c.call("update_card", card_id=card["card_id"], status="locked")
        assert locked["status"] == "locked"
        unlock = await c.call("update_card", card_id=card["card_id"], status="active")
        assert (unlock["code"], unlock["class"]) == ("policy.denied", "money")
        assert "the policy denies update_card (money)" in unlock["message"]
        listed = {tool.name for tool in (await c.client.list_tools()).tools}
        assert "close_card" not in listed
        assert "update_card" in listed
        closed = await c.call("close_card", card_id=card["card_id"])
        assert closed["code"] == "policy.denied"


async def test_money_goes_only_to_the_policys_destinations_within_its_limits(tmp_path: Path) -> None:
    home = f'{{ currency = "RUSD", network = "base", address = "{ADDRESS}" }}'
    ends = {None: "ready", "pending": "outcome.unknown"}
    text = f"[withdrawals]\nper_call_cents = 3000\nper_day_cents = 5000\ndestinations = [{home}]\n"
    async with caller(tmp_path / "state", policy=_policy(tmp_path, text)) as c:
        await funded(c)
        balance = (await c.call("get_balances"))["spending_power_cents"]
        for cents, address, limit in (
            (2500, "0x" + "0e" * 20, "destinations"),
            (3001, ADDRESS, "per_call_cents"),
            (2500, ADDRESS.upper().replace("0X", "0x"), None),
            (2501, ADDRESS, "per_day_cents"),
            # It counts, although Machines has not signed it yet (one withdrawal per user at a time).
            (2500, ADDRESS, "pending"),
            (2000, ADDRESS, "per_day_cents"),
        ):
            quote = await c.call(
                "quote_withdrawal", amount_cents=cents, currency="rusd", network="base", address=address
            )
            made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
            if limit in ends:
                assert made.get("status", made.get("code")) == ends[limit]
            else:
                assert (made["code"], made["limit"]) == ("policy.denied", f"withdrawals.{limit}")
        assert (await c.call("get_balances"))["spending_power_cents"] == balance - 5000
        assert {b["limit"]: b["left"] for b in (await c.call("status"))["budgets"] if "left" in b} == {
            "withdrawals.per_day_cents": 0,
            "rates.locks_per_hour": 5,
            "approval.waiting_per_user": 20,
        }


async def test_unlisted_user_is_not_found_by_any_tool(tmp_path: Path) -> None:
    policy = _policy(tmp_path, 'users = ["ann"]\n')
    async with caller(tmp_path / "state", user_id=None, policy=policy) as c:
        for tool in ("get_balances", "create_session", "accept_agreements", "get_kyc_status"):
            arguments = {"purpose": "kyc"} if tool == "create_session" else {}
            assert (await c.call(tool, user_id="bob", **arguments))["code"] == "not_found"
            assert (await c.call(tool, user_id="ann", **arguments)).get("code") != "not_found"
        assert not any("bob" in row["user_id"] for row in _sessions(c))


def _sessions(c: ToolCaller) -> list[dict[str, Any]]:
    found = c.sandbox.state.db.execute("SELECT * FROM sessions")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


async def test_status_warns_of_a_missing_passphrase_outside_the_simulator(
    tmp_path: Path,
) -> None:
    settings = read_settings(REAL | _where(tmp_path, "sandbox"))
    status = await _call(settings, "status")
    assert status["policy"].startswith("default ")
    money = {found["action"]: found for found in status["permissions"]}["money"]
    assert (money["rule"], "passphrase" in money["reason"]) == ("ask", True)
    await set_passphrase(REAL | _where(tmp_path, "sandbox"), "correct horse battery")
    status = await _call(settings, "status")
    assert datetime.fromisoformat(status["passphrase_set_at"]).year >= 2025
    money = {found["action"]: found for found in status["permissions"]}["money"]
    assert money["reason"] == "requires approval in the client's dialog, at the desk or at a terminal (classes.money)"


async def test_production_without_a_policy_refuses_changes_with_a_reason(tmp_path: Path) -> None:
    settings = read_settings(REAL | _where(tmp_path, "production"))
    refused = await _call(settings, "create_card")
    assert refused["code"] == "policy.denied"
    assert "production is read-only" in refused["message"]
    status = await _call(settings, "status")
    assert {found["action"] for found in status["permissions"] if found["rule"] != "deny"} == {"read"}


async def test_tools_command_shows_rules_policy_passphrase_and_budgets(tmp_path: Path) -> None:
    policy = _policy(tmp_path, LIMITS, "sandbox")
    env = {"MACHINES_ENV": "sandbox", "MACHINES_STATE_DIR": str(tmp_path), "MACHINES_POLICY": str(policy)} | REAL

    def run() -> str:
        # The command runs its own event loop, which must not be nested in this one.
        result = Context().run(CliRunner().invoke, main, ["tools"], env=env)
        assert result.exit_code == 0, result.output
        return result.stdout

    shown = await anyio.to_thread.run_sync(run)
    assert "\nDenied:\n  update_card (money), close_card (destroy)\n" in shown
    assert f"policy: {policy}, digest " in shown
    assert "No passphrase is set, so approvals are disabled." in shown
    assert "withdrawals.per_day_cents: 900, 900 left" in shown
    assert "cards.max_limit_cents.per30DayPeriod: 5000\n" in shown


async def test_strictest_policy_keeps_the_list_within_its_token_budget(tmp_path: Path) -> None:
    key = make_key_pair(tmp_path / "key")
    text = f'[classes]\nwrite = "ask"\n[reveal]\nmodel = true\nsealed_key = "{key}"\n'
    async with caller(tmp_path / "state", user_id=None, policy=_policy(tmp_path, text)) as c:
        tools = (await c.client.list_tools()).model_dump(mode="json", by_alias=True, exclude_none=True)["tools"]
    assert len(json.dumps({"tools": tools}, ensure_ascii=False, separators=(",", ":")).encode()) / 4 <= 330 * len(tools)
