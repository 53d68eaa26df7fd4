"""Every argument of every tool says what it takes, and every output property what it holds, unless its name does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.server.app import INSTRUCTIONS
from machines_mcp.vault.keypair import make_key_pair
from tests.tools.test_variants import TOKENS_A_TOOL, listed

# Names of output properties that say all there is to say, by what kind of name they are. No patterns: a new property
# is described, or argued into this list.
SELF_NAMED = {
    # An id, which another tool takes under the same name.
    *("user_id", "card_id", "deposit_id", "quote_id", "withdrawal_id", "approval_id", "session_id", "transaction_id"),
    *("id", "transaction_hash", "chain_id", "blockhash"),
    # A time, or a number of seconds.
    *("created_at", "updated_at", "expires_at", "accepted_at", "passphrase_set_at", "signature_expires_at"),
    *("seconds_left", "poll_after_seconds"),
    # An amount, with its unit in the name.
    *("amount_cents", "limit_amount_cents", "min_amount_cents", "max_amount_cents", "credit_limit_cents"),
    *("pending_charges_cents", "posted_charges_cents", "balance_due_cents", "spend_cents", "payment_cents"),
    "fee_cents",
    # A list of what the name says, or how long it is in full.
    *("users", "cards", "deposits", "transactions", "withdrawals", "agreements", "assets", "networks", "occupations"),
    *("permissions", "fields", "scopes", "links", "totals"),
    *("users_total", "occupations_total", "withdrawals_total"),
    # A yes or no.
    *("accepted", "still_waiting", "takes_memo", "within_range", "is_estimate", "required"),
    # An argument of the same tool, or of the one that made it, under its own name.
    *("amount", "currency", "network", "address", "purpose", "wallet_chain", "wallet_address", "limit_frequency"),
    # A plain word.
    *("status", "kyc_status", "name", "label", "text", "tool", "question", "reason", "what_to_do", "memo"),
    *("brand", "last4", "expiration_month", "expiration_year", "merchant_name", "deposit_address"),
    *("verification_link", "simulator_page"),
}
WORDS = {
    "status": "status",
    "cancel_approval": "approval",
    "list_users": "users",
    "create_session": "session",
    "resolve_user": "user",
    "get_kyc_requirements": "KYC",
    "submit_kyc": "KYC",
    "get_kyc_status": "KYC",
    "get_agreements": "agreements",
    "accept_agreements": "agreements",
    "list_deposit_assets": "deposit",
    "quote_deposit": "deposit",
    "create_deposit": "deposit",
    "list_deposits": "deposit",
    "get_deposit": "deposit",
    "get_balances": "balance",
    "list_transactions": "transactions",
    "list_withdrawal_assets": "withdraw",
    "quote_withdrawal": "withdraw",
    "create_withdrawal": "withdraw",
    "get_withdrawal_transaction": "withdraw",
    "confirm_withdrawal": "withdraw",
    "list_withdrawals": "withdraw",
    "create_card": "card",
    "list_cards": "cards",
    "get_card": "card",
    "update_card": "card",
    "close_card": "card",
    "reveal_card": "card",
}
"""The word that a client's search for tools looks for."""
MOST_BYTES = 2_000
"""Clients cut descriptions and instructions at 2 KB."""
FIRST = 60
POLICIES = {
    "default": "",
    "asks for all": '[classes]\nwrite = "ask"\n[reveal]\nmodel = true\nsealed_key = "{key}"\n',
    "without identity": "[identity]\nthrough_model = false\n",
    "denies much": '[classes]\nmoney = "deny"\ndestroy = "deny"\n',
}
SETTINGS: dict[str, dict[str, str]] = {
    "all tools": {},
    "read only": {"MACHINES_READ_ONLY": "true"},
    "pinned": {"MACHINES_USER_ID": "user-1"},
    "asks in the client": {"MACHINES_ASK_IN_CLIENT": "true"},
}


def variants() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each policy with each combination of the settings that change the list."""
    for policy in POLICIES:
        for count in range(len(SETTINGS)):
            yield from ((policy, chosen) for chosen in combinations(list(SETTINGS)[1:], count))


def tools_of(folder: Path, policy: str, chosen: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the tools that a server with this policy and these settings lists."""
    path = folder / "policy.toml"
    text = POLICIES[policy].format(key=make_key_pair(folder / "key"))
    path.write_text(f'version = 1\nenvironment = "embedded"\n{text}', encoding="utf-8")
    path.chmod(0o600)
    settings = {"MACHINES_POLICY": str(path)}
    for each in chosen:
        settings |= SETTINGS[each]
    return listed(folder / "state", **settings)


def outputs(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each property at any depth, with its name."""
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from outputs(field)
    if "items" in schema:
        yield from outputs(schema["items"])


def undescribed(tools: list[dict[str, Any]]) -> list[str]:
    found = []
    for tool in tools:
        for name, field in tool["inputSchema"]["properties"].items():
            found += [] if says_something(name, field) else [f"{tool['name']} takes {name}"]
        for name, field in outputs(tool["outputSchema"]):
            found += [] if name in SELF_NAMED or says_something(name, field) else [f"{tool['name']} returns {name}"]
    return found


def says_something(name: str, field: dict[str, Any]) -> bool:
    """Whether the description adds anything to the name."""
    said = field.get("description", "").strip().lower()
    return len(said) > 3 and said != name.replace("_", " ")


@pytest.mark.parametrize(
    ("policy", "chosen"), [pytest.param(*each, id="+".join((each[0], *each[1]))) for each in variants()]
)
def test_every_argument_and_output_is_described_within_the_budget(
    policy: str, chosen: tuple[str, ...], tmp_path: Path
) -> None:
    tools = tools_of(tmp_path, policy, chosen)
    assert tools and undescribed(tools) == []
    cost = len(json.dumps({"tools": tools}, ensure_ascii=False, separators=(",", ":")).encode()) / 4
    assert cost <= TOKENS_A_TOOL * len(tools)


def test_an_undescribed_argument_and_output_are_found(tmp_path: Path) -> None:
    tools = {tool["name"]: tool for tool in tools_of(tmp_path, "default", ())}
    del tools["create_card"]["inputSchema"]["properties"]["label"]["description"]
    tools["get_card"]["inputSchema"]["properties"]["card_id"]["description"] = "Card id"
    del tools["status"]["outputSchema"]["properties"]["budgets"]["items"]["properties"]["left"]["description"]
    assert undescribed(list(tools.values())) == [
        "status returns left",
        "create_card takes label",
        "get_card takes card_id",
    ]


def test_no_self_named_property_is_gone(tmp_path: Path) -> None:
    names = {name for tool in listed(tmp_path) for name, _ in outputs(tool["outputSchema"])}
    assert sorted(SELF_NAMED - names) == []


def test_descriptions_begin_with_what_a_search_for_tools_looks_for(tmp_path: Path) -> None:
    tools = {tool["name"]: tool for tool in listed(tmp_path)}
    assert tools.keys() == WORDS.keys()
    for name, word in WORDS.items():
        assert word in tools[name]["description"][:FIRST], name
        assert len(tools[name]["description"].encode()) <= MOST_BYTES
    assert all(f" {word}" in INSTRUCTIONS[:250] for word in ("card", "KYC", "deposit", "balances", "withdrawal"))
    assert len(INSTRUCTIONS.encode()) <= MOST_BYTES


def test_no_two_tools_begin_alike(tmp_path: Path) -> None:
    begins = [tool["description"][:30] for tool in listed(tmp_path)]
    assert len(set(begins)) == len(begins)


@pytest.mark.parametrize(
    ("tool", "sibling"),
    [
        ("list_deposits", "get_deposit"),
        ("list_cards", "get_card"),
        ("get_card", "reveal_card"),
        ("close_card", "update_card"),
        ("create_withdrawal", "get_withdrawal_transaction"),
        ("get_withdrawal_transaction", "confirm_withdrawal"),
        ("get_agreements", "accept_agreements"),
        ("get_kyc_requirements", "submit_kyc"),
        ("submit_kyc", "get_kyc_status"),
        ("quote_deposit", "create_deposit"),
        ("quote_withdrawal", "create_withdrawal"),
    ],
)
def test_tool_names_the_one_beside_it(tool: str, sibling: str, tmp_path: Path) -> None:
    described = {each["name"]: each["description"] for each in listed(tmp_path)}
    assert sibling in described[tool]
