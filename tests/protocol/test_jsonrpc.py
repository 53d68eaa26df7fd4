from __future__ import annotations

import json
from typing import Any

import pytest

from machines_mcp.protocol.jsonrpc import BLOCKED, OutgoingLines, invalid_request, kind, parse_error
from machines_mcp.redaction import output_filter
from machines_mcp.redaction.output_filter import MAX_LINE, OutputFilter
from machines_mcp.redaction.secret import Secret
from tests.support.card_numbers import card_number

CANARY = "canary-7f3a"
SECRET = "mk-test-0123456789"


@pytest.fixture
def wire() -> OutgoingLines:
    guard = OutputFilter()
    guard.add_secret(Secret(SECRET))
    return OutgoingLines(guard)


def _line(**message: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")) + "\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (_line(id=1, result={}), "result"),
        (_line(id=-1, result={"error": 1}), "result"),
        (_line(id='a"b\\', result={}), "result"),
        (_line(id='","error":', result={}), "result"),
        (_line(id=1, error={"code": 1, "message": "x"}), "error"),
        (_line(id=None, error={"code": 1, "message": "x"}), "error"),
        (_line(id=1, method="elicitation/create", params={}), "method"),
        (_line(method="notifications/progress", params={"result": 1, "id": 1}), "notification"),
    ],
)
def test_the_head_of_a_line_gives_its_kind(line: str, expected: str) -> None:
    assert kind(line) == expected


def test_a_result_without_secrets_is_unchanged(wire: OutgoingLines) -> None:
    line = _line(id=1, result={"content": [{"type": "text", "text": "unchanged é"}]})
    assert wire.outgoing(line) == line


@pytest.mark.parametrize("code", [-32700, -32600, -32601, -32602, -32603, -32000, -32020, 0, 1, -32042, 99999])
@pytest.mark.parametrize("data", [None, CANARY, {"requested": CANARY}, [CANARY]])
def test_an_error_keeps_only_its_id_and_a_known_code(wire: OutgoingLines, code: int, data: object) -> None:
    sent = json.loads(wire.outgoing(_line(id="x", error={"code": code, "message": CANARY, "data": data})))
    assert sent.keys() == {"jsonrpc", "id", "error"}
    assert sent["id"] == "x"
    assert sent["error"].keys() == {"code", "message"}
    assert sent["error"]["code"] in (code, -32603)
    assert CANARY not in json.dumps(sent)


@pytest.mark.parametrize(
    ("requested", "shown"),
    [
        ("2031-01-01", "2031-01-01"),
        ("2031-01-01-draft", "unknown"),
        (CANARY, "unknown"),
        ("4" * 16, "unknown"),
        ("2031-01-01\n", "unknown"),
        ("٢٠٣١-01-01", "unknown"),
        (7, "unknown"),
        (None, "unknown"),
    ],
)
def test_an_unsupported_version_is_repeated_only_if_it_looks_like_one(
    wire: OutgoingLines, requested: object, shown: str
) -> None:
    data = {"supported": ["2026-07-28"], "requested": requested, "more": CANARY}
    sent = json.loads(wire.outgoing(_line(id=1, error={"code": -32022, "message": CANARY, "data": data})))
    assert sent["error"]["data"] == {"supported": ["2026-07-28"], "requested": shown}
    assert CANARY not in json.dumps(sent)


@pytest.mark.parametrize(
    ("required", "shown"),
    [
        ({"elicitation": {}}, {"elicitation": {}}),
        ({"elicitation": {"form": {}, "url": {"at": CANARY}}}, {"elicitation": {"form": {}, "url": {}}}),
        (
            {"sampling": {"tools": {}, CANARY: {}}, "roots": {"listChanged": CANARY}},
            {"sampling": {"tools": {}}, "roots": {}},
        ),
        ({"elicitation": CANARY, CANARY: {}}, {"elicitation": {}}),
        ([CANARY], {}),
        (None, {}),
    ],
)
def test_a_missing_capability_is_reported_by_known_names_only(
    wire: OutgoingLines, required: object, shown: object
) -> None:
    data = {"requiredCapabilities": required, "more": CANARY}
    sent = json.loads(wire.outgoing(_line(id=1, error={"code": -32021, "message": CANARY, "data": data})))
    assert sent["error"]["data"] == {"requiredCapabilities": shown}
    assert CANARY not in json.dumps(sent)


@pytest.mark.parametrize("data", [None, CANARY, [CANARY]])
def test_a_missing_capability_without_data_is_still_valid(wire: OutgoingLines, data: object) -> None:
    sent = json.loads(wire.outgoing(_line(id=1, error={"code": -32021, "message": CANARY, "data": data})))
    assert sent["error"]["data"] == {"requiredCapabilities": {}}


def test_a_response_with_a_secret_is_replaced_by_an_error(wire: OutgoingLines) -> None:
    sent = json.loads(wire.outgoing(_line(id=7, result={"text": f"here: {SECRET}"})))
    assert sent == {"jsonrpc": "2.0", "id": 7, "error": BLOCKED}


def test_an_id_that_contains_the_secret_is_not_repeated(wire: OutgoingLines) -> None:
    assert json.loads(wire.outgoing(_line(id=SECRET, result={})))["id"] is None
    assert SECRET not in wire.outgoing(_line(id=SECRET, error={"code": -32601, "message": ""}))


@pytest.mark.parametrize("message", [{"method": "notifications/progress"}, {"id": 1, "method": "elicitation/create"}])
def test_a_request_or_notification_with_a_secret_is_dropped(wire: OutgoingLines, message: dict[str, Any]) -> None:
    assert wire.outgoing(_line(**message, params={"message": "fine"}))
    assert wire.outgoing(_line(**message, params={"message": SECRET})) == ""


def test_a_failing_output_filter_withholds_the_line(monkeypatch: pytest.MonkeyPatch, wire: OutgoingLines) -> None:
    def broken(text: str) -> bytes:
        raise RuntimeError

    monkeypatch.setattr(output_filter, "squeezed", broken)
    sent = json.loads(wire.outgoing(_line(id=7, result={"text": "anything"})))
    assert sent["error"] == BLOCKED
    assert wire.outgoing(_line(method="notifications/progress", params={"message": "fine"})) == ""


def test_a_response_too_long_to_search_is_withheld(wire: OutgoingLines) -> None:
    sent = json.loads(wire.outgoing(_line(id=7, result={"text": "x" * MAX_LINE})))
    assert sent == {"jsonrpc": "2.0", "id": 7, "error": BLOCKED}


@pytest.mark.parametrize(
    ("head", "part"),
    [
        ({"id": 1}, "result"),
        ({"id": 1, "method": "elicitation/create"}, "params"),
        ({"method": "notifications/progress"}, "params"),
    ],
)
def test_every_outgoing_message_is_masked(wire: OutgoingLines, head: dict[str, Any], part: str) -> None:
    number = card_number()
    sent = json.loads(wire.outgoing(_line(**head, **{part: {"message": f"the card {number}"}})))
    assert sent[part] == {"message": f"the card •••• {number[-4:]}"}


def test_an_error_that_repeats_versions_is_masked(wire: OutgoingLines) -> None:
    data = {"supported": [card_number()], "requested": "2031-01-01"}
    sent = json.loads(wire.outgoing(_line(id=1, error={"code": -32022, "message": "", "data": data})))
    assert sent["error"]["data"]["supported"][0].startswith("•••• ")


@pytest.mark.parametrize(
    ("message", "known"),
    [
        ({"id": 7}, 7),
        ({"id": "a"}, "a"),
        ({"id": "a" * 81}, None),
        ({"id": 10**5000}, None),
        ({"id": True}, None),
        ({"id": 1.5}, None),
        ({"id": None}, None),
        ({"id": {"a": 1}}, None),
        ([], None),
        ("text", None),
        (None, None),
    ],
)
def test_an_invalid_request_is_answered_with_its_id_if_it_has_one(message: object, known: object) -> None:
    sent = json.loads(invalid_request(message))
    assert sent == {"jsonrpc": "2.0", "id": known, "error": {"code": -32600, "message": "Invalid request"}}


def test_the_response_to_invalid_json_is_one_line() -> None:
    assert json.loads(parse_error(b"{")) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32700, "message": "Parse error"},
    }
    assert parse_error(b"{").endswith("\n")
