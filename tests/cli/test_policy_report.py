from __future__ import annotations

import json
import os
import subprocess
import sys
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.main import main
from machines_mcp.tools.catalog import TOOLS
from tests.support.waiting import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"
CANARY = "canary-7f3a-9c21"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MACHINES_")]:
        monkeypatch.delenv(name)


def _example(name: str, folder: Path) -> Path:
    copy = folder / f"policy-{name}.toml"
    copy.write_bytes((EXAMPLES / copy.name).read_bytes())
    copy.chmod(0o600)
    return copy


def _check(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, ["policy", "check", *arguments], env=env)


def _report(path: Path, **env: str) -> dict[str, Any]:
    result = _check(str(path), "--json", **env)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert isinstance(found, dict)
    return found


def test_the_report_lists_every_tool_and_class_with_rule_and_reason(tmp_path: Path) -> None:
    rows = _report(_example("production", tmp_path))["tools"]
    assert [(row["tool"], row["class"]) for row in rows] == [
        (tool.name, str(e)) for tool in TOOLS for e in tool.action_classes
    ]
    by_call = {(row["tool"], row["class"]): (row["rule"], row["why"]) for row in rows}
    assert by_call["create_session", "write"] == ("allow", "runs at once (tools.create_session.write)")
    assert by_call["create_withdrawal", "money"] == ("deny", "the policy denies create_withdrawal (money)")
    assert by_call["create_card", "money"] == ("ask", "requires approval at the desk or at a terminal (classes.money)")
    assert by_call["reveal_card", "reveal"] == ("ask", "requires approval on the vault's page (classes.reveal)")
    assert by_call["update_card", "write"] == (
        "ask",
        "requires approval in the client's dialog, at the desk or at a terminal (classes.write)",
    )


def test_the_report_lists_channels_and_limits(tmp_path: Path) -> None:
    found = _report(_example("sandbox", tmp_path))
    assert found["grants"]["money"] == ["desk", "terminal"]
    assert found["grants"]["consent"] == ["desk", "dialog", "terminal"]
    assert found["sinks"] == {"page": ["page"]}
    assert found["passphrase"] is True
    assert found["users"] == ["user-1", "user-2"]
    assert found["limits"]["withdrawals.per_day_cents"] == 50_000
    assert found["limits"]["cards.max_limit_cents"] == {"per7DayPeriod": 20_000, "per30DayPeriod": 50_000}
    assert found["limits"]["withdrawals.destinations"] == [
        {"currency": "usdc", "network": "base", "address": "0x00000000000000000000000000000000000000aa"}
    ]


@pytest.mark.parametrize("name", ["embedded", "sandbox", "production", "open"])
def test_the_text_report_matches_the_json_report(name: str, tmp_path: Path) -> None:
    path = _example(name, tmp_path)
    found, text = _report(path), _check(str(path)).output
    assert f"digest {found['digest'][:12]}" in text
    lines, headings = text.splitlines(), {"deny": "Denied", "ask": "Requires approval", "allow": "Runs at once"}
    for row in found["tools"]:
        (at,) = [at for at, line in enumerate(lines) if f"{row['tool']} ({row['class']})" in line]
        assert lines[at - 1].startswith(headings[row["rule"]])
    shown = [name for line in lines for name in headings.values() if line.startswith(name)]
    assert shown == sorted(shown, key=list(headings.values()).index)
    assert len(shown) <= 6
    for limit in found["limits"]:
        assert limit in text


@pytest.mark.parametrize("copies", [False, True])
def test_the_report_says_whether_a_cards_page_has_copy_buttons(tmp_path: Path, *, copies: bool) -> None:
    path = tmp_path / "policy.toml"
    reveal = f"[reveal]\ncopy = {str(copies).lower()}\n"
    path.write_text(f'version = 1\nenvironment = "embedded"\n{reveal}', encoding="utf-8")
    path.chmod(0o600)
    assert _report(path)["reveal_copy"] is copies
    assert ("A card's page has buttons that copy it." in _check(str(path)).output) is copies


def test_the_check_applies_to_the_current_environment(tmp_path: Path) -> None:
    path = _example("open", tmp_path)
    assert _check(str(path)).exit_code == 0
    for environment in ("sandbox", "production"):
        refused = _check(str(path), MACHINES_ENV=environment)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert refused.stderr.startswith("In the policy, classes.money must be ask or deny")
    refused = _check(str(path), MACHINES_ENV=CANARY)
    assert (refused.exit_code, refused.stderr) == (2, "MACHINES_ENV must be embedded, sandbox or production.\n")


def test_the_check_applies_to_the_current_user_and_mode(tmp_path: Path) -> None:
    path = _example("sandbox", tmp_path)
    assert "users does not include MACHINES_USER_ID" in _check(str(path), MACHINES_USER_ID="user-9").stderr
    assert _check(str(path), MACHINES_USER_ID="user-1").exit_code == 0
    rules = {row["rule"] for row in _report(path, MACHINES_READ_ONLY="1")["tools"] if row["class"] != "read"}
    assert rules == {"deny"}


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"version = {CANARY}", "The policy file is not valid TOML at line 1."),
        (f'version = 1\nenvironment = "{CANARY}"', "environment must be 'embedded', 'sandbox' or 'production'"),
        ("version = 1\nenvironment = 7", "environment must be 'embedded', 'sandbox' or 'production'"),
        ("", "version is missing"),
    ],
)
def test_an_invalid_policy_exits_with_2_and_one_sentence(
    tmp_path: Path, options: list[str], text: str, says: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    refused = _check(str(path), *options)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert says in refused.stderr
    assert CANARY not in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_missing_policy_file_is_reported(tmp_path: Path) -> None:
    refused = _check(str(tmp_path / CANARY))
    assert (refused.exit_code, refused.stderr) == (
        2,
        "The policy file can't be read; check that it exists and that this user can read it.\n",
    )


def test_a_relative_policy_path_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _example("embedded", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _check("policy-embedded.toml").exit_code == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("key", "reveal.sealed_key is not a usable public key: it is a private key"),
        ("text", "reveal.sealed_key is not a usable public key: it is not JSON"),
        ("key.pub", ""),
    ],
)
def test_only_a_public_key_is_accepted_for_sealing(tmp_path: Path, name: str, says: str) -> None:
    path = tmp_path / "policy.toml"
    text = f'version = 1\nenvironment = "embedded"\n[reveal]\nsealed_key = "{tmp_path / name}"\n'
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    made = CliRunner().invoke(main, ["keypair", str(tmp_path / "key")])
    assert made.exit_code == 0, made.output
    (tmp_path / "text").write_text("no key", encoding="utf-8")
    (tmp_path / "text").chmod(0o600)
    result = _check(str(path))
    assert result.exit_code == (2 if says else 0)
    assert says in result.stderr


# A server with such a policy


def _serve(policy: Path, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "machines_mcp", "serve"],
        env={"MACHINES_POLICY": str(policy), "MACHINES_STATE_DIR": str(folder), "PATH": os.environ["PATH"]} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.check
def test_a_server_with_an_invalid_policy_does_not_start(tmp_path: Path) -> None:
    ended = _serve(_example("sandbox", tmp_path), tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "In the policy, environment does not match MACHINES_ENV, which is embedded.\n"
    assert _serve(_example("embedded", tmp_path), tmp_path).returncode == 0


def test_production_without_a_policy_is_read_only(tmp_path: Path) -> None:
    key = {"MACHINES_ENV": "production", "MACHINES_PARTNER_KEY": "mk-test-0123456789", "MACHINES_USER_ID": "user-1"}
    env = key | {"MACHINES_STATE_DIR": str(tmp_path)}
    shown = CliRunner().invoke(main, ["tools", "--json"], env=env)
    assert shown.exit_code == 0, shown.output
    rules = {rule for row in json.loads(shown.output) for name, rule in row["rules"].items() if name != "read"}
    assert rules == {"deny"}
    listed = {row["tool"] for row in json.loads(shown.output) if row["listed"]}
    assert "get_balances" in listed
    assert not listed & {"create_card", "create_session", "create_withdrawal"}


def test_the_tools_are_grouped_and_the_columns_explained(tmp_path: Path) -> None:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state"), "MACHINES_READ_ONLY": "1"}
    shown = Context().run(CliRunner().invoke, main, ["tools"], env=env)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith(("step: ", "Denied", "Runs"))] == [
        "step", "Denied", "Runs at once"
    ]  # fmt: skip
    (denied,) = [lines[at + 1] for at, line in enumerate(lines) if line.startswith("Denied: ")]
    assert "create_withdrawal (money)" in denied and "(read)" not in denied


def test_a_policy_without_sinks_denies_to_reveal(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('version = 1\nenvironment = "embedded"\n[reveal]\nsinks = ["none"]\n', encoding="ascii")
    path.chmod(0o600)
    assert "Denied: no sink is allowed (reveal.sinks):\n  reveal_card (reveal)\n" in _check(str(path)).stdout


def test_the_report_lists_the_chains_of_withdrawals(tmp_path: Path) -> None:
    path, target, token = tmp_path / "policy.toml", f"0x{'1d' * 20}", f"0x{'2e' * 20}"
    chain = f'[chain.84532]\ntargets = ["{target}"]\ntokens = [{{ address = "{token}", decimals = 6 }}]\n'
    path.write_text(f'version = 1\nenvironment = "embedded"\n{chain}', encoding="utf-8")
    path.chmod(0o600)
    assert _report(path)["chains"] == {"84532": {"targets": [target], "tokens": {token: 6}}}
    assert f"  chain 84532: calls of {target}; tokens: {token} (6 decimals)" in _check(str(path)).output.splitlines()
    assert _report(_example("embedded", tmp_path))["chains"] == {}
