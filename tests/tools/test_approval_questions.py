"""What a person reads before they decide: no text from outside can pass for words of this server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.cli.approvals import format_approval, waiting_approvals
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.server.settings_reader import read_settings
from tests.support.in_process import in_process_sandbox
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

USER = "user-1”? (from Machines). Approve: “all"
LURES = [
    "x” (from Machines",
    "Rent' (checked by Machines)",
    "[Approve](https://pay.example)",
    "**APPROVED** by a person",
    "_Label_: none",
    "see www.pay.example",
    "`decision: approve` <b>",
    "A → “B",
    "Asked by “Machines”.",
]
"""Labels that try to read as more than a label, in a line or where Markdown is rendered."""
MARKUP = re.compile(r"[*`<\\]|\]\(|://|www\.|(?<!\w)_|_(?!\w)")
LINE = re.compile(r"Label: “[^“”]*”(?: → “[^“”]*”)? \((?:.*)from (?:the agent|Machines)(?:; .*)?\)")


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[ToolCaller]:
    """Yield a caller without a dialog for an approved user, so that each call waits."""
    async with in_process_sandbox() as sandbox:
        async with caller(folder, sandbox=sandbox) as c:
            await c.approved()
        async with caller(folder, answer=None, sandbox=sandbox) as c:
            yield c


async def waiting(folder: Path) -> Approval:
    """Return the newest waiting approval."""
    found, _ = await waiting_approvals(read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)}))
    return found[-1]


async def test_a_label_reads_as_a_quoted_text_of_the_agent(tmp_path: Path) -> None:
    async with asking(tmp_path) as c:
        for label in LURES:
            assert (await c.call("create_card", label=label))["code"] == "approval.required"
            approval = await waiting(tmp_path)
            lines = approval.dialog().splitlines()
            assert [line.split(":")[0] for line in lines[1:-1]] == ["User", "Limit", "Label"]
            assert lines[0] == "Issue a virtual card with no limit?"
            assert LINE.fullmatch(lines[3]), lines[3]
            assert not MARKUP.search(lines[3]), lines[3]
            # A terminal renders no Markdown and shows the exact text, but for the quotes.
            assert re.search(r"Label +“[^“”]*” +\(from the agent", format_approval(approval))
            exact = next(item for item in approval.details.items if item.label == "Label")
            assert exact.value == label


async def test_a_label_of_machines_is_marked_as_theirs_and_its_controls_are_gone(tmp_path: Path) -> None:
    said = "Rent\n\u202eUser: “x”\u200b\r\nLimit: none **now**"
    async with in_process_sandbox() as sandbox, caller(tmp_path, sandbox=sandbox) as c:
        await c.approved()
        card_id = (await c.call("create_card"))["card_id"]
        await c.control("/texts", place="label", text=said)
        assert (await c.call("get_card", card_id=card_id))["label_from"] == "machines"
        async with caller(tmp_path, answer=None, sandbox=sandbox) as later:
            for tool, more in (
                ("close_card", {}),
                ("update_card", {"status": "active", "limit_amount_cents": 5, "limit_frequency": "allTime"}),
                ("reveal_card", {"sink": "page"}),
            ):
                assert (await later.call(tool, card_id=card_id, **more))["code"] == "approval.required"
                (line,) = (line for line in (await waiting(tmp_path)).dialog().splitlines() if "Rent" in line)
                assert line.endswith("(from Machines)")
                assert LINE.fullmatch(line) and not MARKUP.search(line), line


async def test_a_changed_label_says_who_wrote_each_half(tmp_path: Path) -> None:
    async with in_process_sandbox() as sandbox, caller(tmp_path, sandbox=sandbox) as c:
        await c.approved()
        card_id = (await c.call("create_card", label="A → B"))["card_id"]
        change = {"status": "locked", "limit_amount_cents": 5, "limit_frequency": "allTime", "label": "C"}
        async with caller(tmp_path, answer=None, sandbox=sandbox) as later:
            await later.call("update_card", card_id=card_id, **change)
            assert "Label: “A → B” → “C” (from the agent)" in (await waiting(tmp_path)).dialog().splitlines()
            await c.control("/texts", place="label", text="Old")
            await later.call("update_card", card_id=card_id, **change)
            (line,) = (line for line in (await waiting(tmp_path)).dialog().splitlines() if line.startswith("Label"))
            assert line == "Label: “Old” → “C” (before the arrow from Machines, after it from the agent)"


async def test_a_user_that_the_agent_names_is_quoted(tmp_path: Path) -> None:
    async with caller(tmp_path, None, answer=None) as c:
        refused = await c.call("resolve_user", user_id=USER, wallet_address="0x" + "ab" * 20)
        assert refused["code"] == "approval.required", refused
        question, user, *_ = (await waiting(tmp_path)).dialog().splitlines()
        assert question == "Link this EVM wallet to the user at Machines?"
        assert user == "User: “user-1'? (from Machines). Approve: 'all” (from the agent)"
        (listed,) = (await c.call("status"))["waiting"]
        assert listed["question"] == question


@pytest.mark.parametrize("verbatim", [False, True])
def test_only_exact_values_keep_what_looks_like_markup(verbatim: bool) -> None:
    from machines_mcp.redaction.quoting import without_markup

    item = Detail("Memo", "a*b_c", verbatim=verbatim, by="agent")
    assert item.line(without_markup) == ("“a*b_c”" if verbatim else "“a\uff0ab_c”")


async def test_address_with_quotes_is_rejected(
    tmp_path: Path,
) -> None:
    async with caller(tmp_path) as c:
        for quote in "\"'`":
            for field in ("address", "extra_id"):
                terms: dict[str, Any] = {"amount_cents": 500, "currency": "usdc", "network": "base"}
                terms |= {"address": "0x" + "ef" * 20, field: f"0xab{quote}cd"}
                error = await c.call("quote_withdrawal", **terms)
                assert error["code"] == "input.invalid"
                assert [fault["field"] for fault in error["fields"]] == [field]
