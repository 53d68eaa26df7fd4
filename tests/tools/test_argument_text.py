"""Every argument of every tool: a text that would be shown differently is refused by name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.cli.approvals import waiting_approvals
from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.coercion import schema_of
from machines_mcp.protocol.errors import ToolError
from machines_mcp.protocol.tool import Tool
from machines_mcp.redaction.characters import text_fault
from machines_mcp.redaction.detectors import masked_text
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.testing import Era, decide
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.kyc_arguments import IDENTITY
from tests.redaction.test_characters import BIDI, FAMILY, NEW, PERSIAN
from tests.support.card_numbers import card_number
from tests.support.in_process import in_process_sandbox
from tests.support.stdio_client import applicant
from tests.support.tool_caller import caller
from tests.support.writings import WRITINGS

HIDES = "must not contain a card number, a security code or a national id"
CARD = "must not contain a number that could be a card number; leave that number out"

FREE_TEXT = {
    ("create_card", "label"),
    ("update_card", "label"),
    ("resolve_user", "wallet_label"),
    ("get_kyc_requirements", "occupation_query"),
    ("list_deposit_assets", "query"),
    ("list_withdrawal_assets", "query"),
    ("list_users", "query"),
    *(("submit_kyc", name) for name in ("first_name", "last_name", "address_line1", "address_line2", "address_city")),
    *(("submit_kyc", name) for name in ("address_region", "address_postal_code")),
    *((tool.name, "user_id") for tool in TOOLS if tool.per_user),
}


def _strings() -> Iterator[tuple[Tool, str]]:
    for tool in TOOLS:
        for name, schema in schema_of(tool.input_model)["properties"].items():
            if schema.get("type") in ("string", "array"):
                yield tool, name


STRINGS = list(_strings())


def rule(tool: Tool, name: str, value: Any) -> str | None:
    given = {name: [value] if schema_of(tool.input_model)["properties"][name]["type"] == "array" else value}
    try:
        validate(tool, {"user_id": "user-1"} | given, None)
    except ToolError as refused:
        return next((fault.rule for fault in refused.fields if fault.field.split(".")[0] == name), None)
    return None


@pytest.mark.parametrize(("tool", "name"), STRINGS, ids=lambda value: getattr(value, "name", value))
def test_bidi_and_control_characters_are_refused_in_every_string(tool: Tool, name: str) -> None:
    for code in BIDI:
        assert (
            rule(tool, name, f"us{chr(code)}er-1") == "must not contain characters that change the direction of writing"
        )
    for hidden, word in (("\n", "line breaks"), ("\x1b", "control"), ("\u200b", "invisible"), ("\ue000", "private")):
        assert word in (rule(tool, name, f"user-1{hidden}") or "")


@pytest.mark.parametrize(("tool", "name"), STRINGS, ids=lambda value: getattr(value, "name", value))
def test_words_of_a_person_are_accepted_unchanged_or_refused(tool: Tool, name: str) -> None:
    whole = [FAMILY, PERSIAN, *map(chr, NEW)]
    if (tool.name, name) in FREE_TEXT:
        assert [rule(tool, name, text * 2) for text in whole] == [None] * len(whole)
        assert rule(tool, name, " a") == rule(tool, name, "a ") == "must not begin or end with a space"
        assert rule(tool, name, "\u200da") == "must not contain joiners that join nothing"
    elif name != "cursor":  # a cursor is whatever Machines returned
        assert None not in [rule(tool, name, text * 2) for text in whole]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_label_is_asked_sent_and_shown_unchanged(tmp_path: Path, mode: Era) -> None:
    labels = [FAMILY, PERSIAN, "a  b", "".join(map(chr, NEW))]
    async with in_process_sandbox() as sandbox, AsyncExitStack() as stack:
        async with caller(tmp_path, mode=mode, sandbox=sandbox) as c:
            await c.approved()
        c = await stack.enter_async_context(caller(tmp_path, mode=mode, answer=None, sandbox=sandbox))
        for label in labels:
            assert (await c.call("create_card", label=label))["code"] == "approval.required"
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
        waiting, _ = await waiting_approvals(read_settings(env))
        asked = {each.id: each.dialog() for each in waiting}
        assert all(any(f"“{label}”" in dialog for dialog in asked.values()) for label in labels)
        for approval_id, dialog in asked.items():
            assert await decide(env, approval_id) == "granted"
            (label,) = (label for label in labels if f"“{label}”" in dialog)
            made = await c.call("create_card", label=label, approval_id=approval_id)
            assert made["label"] == label
            assert (await c.call("get_card", card_id=made["card_id"]))["label"] == label


APPROVED = [(tool, name) for tool, name in STRINGS if name in ("label", "wallet_label")]


def test_every_free_text_of_a_person_but_identity_data_and_searches_is_approved_as_it_is() -> None:
    assert {(tool.name, name) for tool, name in APPROVED} == {
        (tool, name) for tool, name in FREE_TEXT if name not in {*IDENTITY, "user_id", "query", "occupation_query"}
    }


@pytest.mark.parametrize(("tool", "name"), APPROVED, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("writing", WRITINGS)
def test_text_that_would_be_approved_unseen_is_refused(tool: Tool, name: str, writing: str) -> None:
    number = card_number()
    for text in (WRITINGS[writing](number), f"Visa {WRITINGS[writing](number)} ok"):
        if text_fault(text) is None and len(text) <= 60:
            assert rule(tool, name, text) in (CARD, HIDES)


@pytest.mark.parametrize(("tool", "name"), APPROVED, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("text", ["123-45-6789", "my SSN: 123456789", "tax id 123 45 6789"])
def test_national_id_in_a_text_to_approve_is_refused(tool: Tool, name: str, text: str) -> None:
    assert rule(tool, name, text) == "must not contain a number that reads like a national id; leave that number out"


@pytest.mark.parametrize(("tool", "name"), APPROVED, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize(
    ("text", "word", "instead"),
    [
        ("CSC 101 books", "CSC", "Computer Science 101 books"),
        ("csc101", "CSC", "Computer Science 101"),
        ("my_CVC_123", "CVC", "my_CVC"),
        ("CSC fees, fall 2026", "CSC", "CSC fees, fall"),
        ("CVC 2026", "CVC", "Community Volunteer Corps 2026"),
        ("CVC2 is 123", "CVC", "CVC2"),
        ("ⒸⓋⒸ 123", "CVC", "ⒸⓋⒸ"),
        ("security code is 1234", "the name of that code", "security code"),
        ("Card verification value: 123", "the name of that code", "Card verification"),
    ],
)
def test_what_reads_like_a_code_is_refused_with_the_word_and_what_to_write(
    tool: Tool, name: str, text: str, word: str, instead: str
) -> None:
    told = rule(tool, name, text)
    assert told is not None and f"soon after {word}, because" in told and "leave that number out" in told
    assert ("write the abbreviation out" in told) == (word != "the name of that code")
    assert "CSC" not in told or word == "CSC"
    assert rule(tool, name, instead) is None


@pytest.mark.parametrize(("tool", "name"), APPROVED, ids=lambda value: getattr(value, "name", value))
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("0123456789 -"), max_size=30))
def test_text_to_approve_is_shown_as_it_is_or_refused(tool: Tool, name: str, text: str) -> None:
    assert masked_text(text) == text or rule(tool, name, text) is not None


@pytest.mark.anyio
async def test_label_that_repeats_identity_data_is_approved_as_it_is(tmp_path: Path) -> None:
    label, limit = "For quernmore-approved", {"limit_amount_cents": 9, "limit_frequency": "allTime"}
    async with caller(tmp_path) as c:
        await c.call("submit_kyc", **applicant() | {"last_name": "Quernmore-Approved"})
        await c.call("accept_agreements")
        card = (await c.call("create_card", label=label))["card_id"]
        assert (await c.call("update_card", card_id=card, label=label, **limit))["card_id"] == card
        await c.call("resolve_user", wallet_address="0x" + "ab" * 20, wallet_label=label)
    with closing(sqlite3.connect(tmp_path / "embedded" / "state.db")) as db:
        details = [json.loads(text) for (text,) in db.execute("SELECT details FROM approvals")]
    shown = [item["value"] for each in details for item in each["items"] if "abel" in item["label"]]
    assert [label in each for each in shown] == [True] * 3
    assert not [each for each in details if label in each["question"]]
