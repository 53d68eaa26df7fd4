"""A policy takes the payees that `quote_withdrawal` takes, and refuses the others with the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.cli.main import main
from machines_mcp.permissions.policy import PolicyError
from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.errors import ToolError
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import load_operator_policy
from machines_mcp.tools.catalog import TOOLS
from tests.partner.formats.test_addresses import INVALID, TEST_NETWORKS, VALID, ZERO

QUOTE = next(tool for tool in TOOLS if tool.name == "quote_withdrawal")
EVM = "0x" + "ab" * 20
XRP = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"
XLM = "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ"
MEMOS = [
    *(("xrp", XRP, memo) for memo in ("7", "0", "4294967295", "abc", "007", "4294967296", "-1", "1 2", "1" * 121)),
    *(("stellar", XLM, memo) for memo in ("hello", "x" * 28, "x" * 29, "ab" * 32)),
    ("base", EVM, "7"),
    ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "7"),
    ("hbar", "0.0.1234567", "x" * 101),
    *(("newchain", "abcd", memo) for memo in ("x", "null", "a'b")),
]
PAYEES = [(network, address, None) for network, address in (*VALID, *INVALID, *ZERO, *TEST_NETWORKS)] + [
    *MEMOS,
    *(("newchain", address, None) for address in ("abcd", "abc", "a b c", "x" * 200, "x" * 201, "null", "None")),
    ("base", "0xabc", None),
    ("base", XRP, None),
    ("no network", "abcd", None),
]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    policy = tmp_path / "policy.toml"
    policy.touch(0o600)
    return {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "s"), "MACHINES_POLICY": str(policy)}


def faults_of_the_tool(network: str, address: str, memo: str | None) -> dict[str, str]:
    arguments: dict[str, Any] = {"user_id": "u", "amount_cents": 500, "currency": "usdc", "network": network}
    arguments |= {"address": address} | ({} if memo is None else {"extra_id": memo})
    try:
        validate(QUOTE, arguments, None)
    except ToolError as refused:
        return {fault.field: fault.rule for fault in refused.fields}
    return {}


def fault_of_the_policy(env: dict[str, str], network: str, address: str, memo: str | None) -> str | None:
    """Return what the server's start says about the payee; None if it starts."""
    extra = "" if memo is None else f', extra_id = "{memo}"'
    text = f'{{ currency = "usdc", network = "{network}", address = "{address}"{extra} }}'
    head = 'version = 1\nenvironment = "embedded"\n[withdrawals]\n'
    Path(env["MACHINES_POLICY"]).write_text(f"{head}destinations = [{text}]\n", encoding="utf-8")
    try:
        load_operator_policy(read_settings(env))
    except PolicyError as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(("network", "address", "memo"), PAYEES, ids=lambda value: str(value)[:24])
def test_policy_and_tool_agree(env: dict[str, str], network: str, address: str, memo: str | None) -> None:
    tool, policy = faults_of_the_tool(network, address, memo), fault_of_the_policy(env, network, address, memo)
    assert (policy is None) == (tool == {}), (policy, tool)
    if policy is None:
        return
    checked = CliRunner().invoke(main, ["policy", "check", env["MACHINES_POLICY"]], env={"MACHINES_ENV": "embedded"})
    assert (checked.exit_code, checked.output.strip()) == (2, policy)
    where = policy.removeprefix("In the policy, withdrawals.destinations[0].")
    assert where.split(" ")[0] in tool
    assert len(address) < 12 or address not in policy
    if network == "base" and memo is None:
        assert where == f"address {tool['address']}."


PLAIN = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'`\\"), min_size=1, max_size=40
)


@given(st.sampled_from(["base", "xrp", "stellar", "newchain"]), PLAIN, st.none() | PLAIN)
def test_policy_refuses_what_the_tool_refuses(network: str, address: str, memo: str | None) -> None:
    from machines_mcp.permissions.policy_schema import DestinationSection

    given_ = {"currency": "usdc", "network": network, "address": address} | ({} if memo is None else {"extra_id": memo})
    try:
        DestinationSection.model_validate(given_)
    except ValueError:
        return
    assert faults_of_the_tool(network, address, memo) == {}
