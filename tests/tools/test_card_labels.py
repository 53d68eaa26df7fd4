"""Every result that has a card's label says who wrote it: a model may have stored text for the next one to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.tools.card_output import CardOutput, CardResult
from machines_mcp.tools.catalog import TOOLS
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_output_types import leaves

pytestmark = pytest.mark.anyio


async def origins(c: ToolCaller, card_id: str) -> set[tuple[str | None, str | None]]:
    """Return the label and its origin by each read."""
    listed = (await c.call("list_cards"))["cards"]
    found: list[dict[str, Any]] = [await c.call("get_card", card_id=card_id)]
    found += [card for card in listed if card["card_id"] == card_id]
    return {(card.get("label"), card.get("label_from")) for card in found}


async def set_outside(sandbox: InProcessSandbox, user_id: str, card_id: str, label: str) -> None:
    """Set the label as another program of the partner does."""
    async with sandbox.client() as partner:
        await partner.cards.update(user_id, card_id, encrypted_name=await partner.encryption.encrypt(user_id, label))


def test_each_output_with_a_label_of_a_card_says_whose_it_is() -> None:
    labelled = {model for tool in TOOLS for model, name, _ in leaves(tool.output_model) if name == "label"}
    # The others are labels of networks and occupations, which no tool can set.
    assert labelled == {"CardOutput", "CardResult", "NetworkOutput", "Occupation"}
    assert {"label", "label_from"} <= CardOutput.model_fields.keys() & CardResult.model_fields.keys()


async def test_a_label_is_the_agents_if_a_call_of_this_folder_sent_it(tmp_path: Path) -> None:
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path / "one", sandbox=sandbox) as c:
            await c.approved()
            made = await c.call("create_card", label="Books")
            card_id = made["card_id"]
            assert (made["label"], made["label_from"]) == ("Books", "agent")
            assert await origins(c, card_id) == {("Books", "agent")}
            changed = await c.call("update_card", card_id=card_id, label="Food")
            assert (changed["label"], changed["label_from"]) == ("Food", "agent")
            locked = await c.call("update_card", card_id=card_id, status="locked")
            assert locked["label_from"] == "agent"
            plain = await c.call("create_card")
            assert not {"label", "label_from"} & plain.keys()
        async with caller(tmp_path / "one", sandbox=sandbox) as c:
            # A server that starts later knows it, too.
            assert await origins(c, card_id) == {("Food", "agent")}
        async with caller(tmp_path / "two", sandbox=sandbox) as c:
            assert await origins(c, card_id) == {("Food", "machines")}


async def test_a_label_that_was_set_elsewhere_is_from_machines_even_if_its_words_are_the_same(tmp_path: Path) -> None:
    async with in_process_sandbox() as sandbox, caller(tmp_path, sandbox=sandbox) as c:
        await c.approved()
        card_id = (await c.call("create_card", label="Books"))["card_id"]
        await set_outside(sandbox, "tool-user", card_id, "Books")
        assert await origins(c, card_id) == {("Books", "machines")}
