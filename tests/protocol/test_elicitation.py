"""Client capabilities and dialog responses. test_dispatcher covers the exchange of messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mcp_types as types
import pytest

from machines_mcp.protocol import elicitation


@dataclass
class _Session:
    client_capabilities: types.ClientCapabilities | None


@dataclass
class _Context:
    session: _Session
    protocol_version: str = "2025-11-25"


def _client_with(elicitation: dict[str, Any] | None) -> Any:
    given = {} if elicitation is None else {"elicitation": elicitation}
    return _Context(_Session(types.ClientCapabilities.model_validate(given)))


@pytest.mark.parametrize(
    ("declared", "can"),
    [
        (None, False),
        ({}, True),
        ({"form": {}}, True),
        ({"url": {}}, False),
        ({"form": {}, "url": {}}, True),
    ],
)
def test_a_form_requires_the_bare_or_named_capability(declared: dict[str, Any] | None, can: bool) -> None:
    assert elicitation.supports_forms(_client_with(declared)) is can


@pytest.mark.parametrize(
    ("declared", "can"),
    [(None, False), ({}, False), ({"form": {}}, False), ({"url": {}}, True), ({"form": {}, "url": {}}, True)],
)
def test_a_page_requires_the_named_capability(declared: dict[str, Any] | None, can: bool) -> None:
    assert elicitation.supports_urls(_client_with(declared)) is can


def test_a_client_without_capabilities_has_no_dialog() -> None:
    assert not elicitation.supports_forms(_Context(_Session(None)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "by_result"), [("2025-11-25", False), ("2025-06-18", False), ("2026-07-28", True)])
def test_the_era_decides_how_the_question_travels(version: str, by_result: bool) -> None:
    assert elicitation.asks_in_result(_Context(_Session(None), version)) is by_result  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("responses", "answer"),
    [
        (None, "nothing"),
        ({}, "nothing"),
        ({"approve": {"action": "accept", "content": {"decision": "approve"}}}, "yes"),
        ({"approve": {"action": "accept", "content": {"decision": "refuse"}}}, "no"),
        ({"approve": {"action": "accept"}}, "nothing"),
        ({"approve": {"action": "accept", "content": {}}}, "nothing"),
        ({"approve": {"action": "accept", "content": {"approve": True}}}, "nothing"),
        ({"approve": {"action": "accept", "content": {"approve": False}}}, "nothing"),
        ({"approve": {"action": "accept", "content": {"decision": "Approve"}}}, "nothing"),
        ({"approve": {"action": "accept", "content": {"decision": "approve "}}}, "nothing"),
        ({"approve": {"action": "accept", "content": {"decision": ["approve"]}}}, "nothing"),
        ({"approve": {"action": "accept", "content": {"decision": True}}}, "nothing"),
        ({"approve": {"action": "accept", "content": {"decision": None}}}, "nothing"),
        ({"approve": {"action": "accept", "content": {"decision": "approve", "approve": False}}}, "nothing"),
        ({"approve": {"action": "cancel", "content": {"decision": "approve"}}}, "nothing"),
        ({"approve": {"action": "decline", "content": {"decision": "approve"}}}, "no"),
        ({"approve": {"action": "decline"}}, "no"),
        ({"approve": {"action": "cancel"}}, "nothing"),
        ({"Approve": {"action": "accept", "content": {"decision": "approve"}}}, "nothing"),
        ({"approve": {"roots": []}}, "nothing"),
    ],
)
def test_only_the_choice_to_approve_our_question_approves(responses: dict[str, Any] | None, answer: str) -> None:
    params = types.CallToolRequestParams.model_validate({"name": "pay", "inputResponses": responses}, by_name=False)
    assert elicitation.read_answer(params) == answer


def test_the_question_requires_a_choice_that_has_no_default() -> None:
    result = elicitation.question_result("Pay?", "an-id").model_dump(by_alias=True, exclude_none=True)
    assert result["requestState"] == "an-id"
    (asked,) = result["inputRequests"].values()
    assert asked["params"]["message"] == "Pay?"
    form = asked["params"]["requestedSchema"]
    assert (list(form["properties"]), form["required"]) == (["decision"], ["decision"])
    assert form["properties"]["decision"]["enum"] == ["approve", "refuse"]
    assert "default" not in form["properties"]["decision"]
