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
        ({"approve": {"action": "accept"}}, "yes"),
        ({"approve": {"action": "accept", "content": {"anything": "else"}}}, "yes"),
        ({"approve": {"action": "decline"}}, "no"),
        ({"approve": {"action": "cancel"}}, "nothing"),
        ({"Approve": {"action": "accept"}}, "nothing"),
        ({"approve": {"roots": []}}, "nothing"),
    ],
)
def test_only_acceptance_of_our_question_counts_as_acceptance(responses: dict[str, Any] | None, answer: str) -> None:
    params = types.CallToolRequestParams.model_validate({"name": "pay", "inputResponses": responses}, by_name=False)
    assert elicitation.read_answer(params) == answer


def test_the_question_shows_the_approval_and_has_no_fields() -> None:
    result = elicitation.question_result("Pay?", "an-id").model_dump(by_alias=True, exclude_none=True)
    assert result["requestState"] == "an-id"
    (asked,) = result["inputRequests"].values()
    assert asked["params"]["message"] == "Pay?"
    assert asked["params"]["requestedSchema"]["properties"] == {}
