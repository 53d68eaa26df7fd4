from __future__ import annotations

import re

import pytest

from machines_mcp.protocol.prompts import load_prompts
from machines_mcp.tools.catalog import TOOLS

NO_TOOLS = {"next_steps", "status", "sign", "send", "typed_data", "transaction", "sign_at"}
"""Fields and their values."""
WITH_AN_EXTRA = {"get_withdrawal_transaction", "confirm_withdrawal"}
"""The prompt says what to do without them."""
NAMES = ["fund_account", "issue_card", "lost_card", "onboard_user", "withdraw"]


def test_prompts_follow_the_order_of_their_file_names() -> None:
    assert list(load_prompts()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_has_a_title_and_description_and_fills_its_placeholders(name: str) -> None:
    prompt = load_prompts()[name]
    assert prompt.title
    assert prompt.description.endswith(".")
    places = set(re.findall(r"\{(\w+)\}", prompt.text))
    assert places == {argument.name for argument in prompt.arguments}
    filled = prompt.render({place: f"value of {place}" for place in places})
    assert "{" not in filled
    assert all(f"value of {place}" in filled for place in places)


@pytest.mark.parametrize("name", NAMES)
def test_a_placeholder_without_a_value_asks_for_it(name: str) -> None:
    assert "(ask for the user id)" in load_prompts()[name].render({"user_id": "  "})


@pytest.mark.parametrize("name", NAMES)
def test_a_long_value_is_truncated(name: str) -> None:
    assert "x" * 201 not in load_prompts()[name].render({"user_id": "x" * 5000})


def test_a_value_is_not_expanded_again() -> None:
    text = load_prompts()["issue_card"].render({"user_id": "{limit}", "limit": "five dollars"})
    assert text.count("five dollars") == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_tool_that_a_prompt_names_exists_and_is_required(name: str) -> None:
    prompt = load_prompts()[name]
    named = set(re.findall(r"`([a-z]+_?[a-z_]*)`", prompt.text)) - NO_TOOLS
    assert named - WITH_AN_EXTRA <= set(prompt.needs) <= {tool.name for tool in TOOLS}
    assert prompt.needs


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_is_offered_only_if_all_its_tools_are_available(name: str) -> None:
    every = {tool.name for tool in TOOLS}
    prompt = load_prompts()[name]
    assert prompt.fits(every)
    for need in prompt.needs:
        assert not prompt.fits(every - {need})
