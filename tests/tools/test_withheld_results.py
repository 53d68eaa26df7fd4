"""A tool's result that the output filter withholds becomes an error of the tool, for every tool and in both eras."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.allowance import Allowance
from machines_mcp.protocol.arguments import parse
from machines_mcp.protocol.jsonrpc import OutgoingLines
from machines_mcp.protocol.responses import ResponseBuilder, ToolRun
from machines_mcp.protocol.tool import Tool
from machines_mcp.redaction import output_filter as filter_module
from machines_mcp.redaction.output_filter import MAX_LINE, OutputFilter
from machines_mcp.redaction.secret import Secret
from machines_mcp.tools.catalog import TOOLS
from tests.tools.test_next_steps_of_errors import _call, _registry, pinned_or_not

SECRET = "mst_Hq2vB8xLz5Nc7Rw4Kd9Y"
META = {"io.modelcontextprotocol/serverInfo": {"name": "machines-mcp"}}
eras = pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])


class Wire:
    """The way of a result from the tool to the client, with a known secret."""

    def __init__(self, pinned: str | None = None) -> None:
        self.alarms: list[str] = []
        self.registry = _registry(pinned)
        self.filter = OutputFilter(self.alarms.append)
        self.filter.add_secret(Secret(SECRET))
        self.allowance = Allowance()
        self.responses = ResponseBuilder(self.registry, {"environment": "test"})
        self.lines = OutgoingLines(self.filter)

    def sent(self, result: dict[str, Any], era: str, request_id: int | str = 7) -> dict[str, Any]:
        """Return what the client gets for this result, after a check that the secret is not in it."""
        added = {"_meta": META} if era == "2026-07-28" else {}
        body = {name: part for name, part in result.items() if era == "2026-07-28" or name != "resultType"}
        whole = {"jsonrpc": "2.0", "id": request_id, "result": body | added}
        line = self.lines.outgoing(json.dumps(whole, separators=(",", ":")) + "\n", self.allowance)
        assert SECRET not in line and line.endswith("\n")
        sent: dict[str, Any] = json.loads(line)
        return sent


def error_in(sent: dict[str, Any], era: str) -> dict[str, Any]:
    """Return the error object of a tool's error result, after a check of its form."""
    assert sent.keys() == {"jsonrpc", "id", "result"}, sent
    result = sent["result"]
    assert result["isError"] is True and "structuredContent" not in result
    assert result.get("resultType") == ("complete" if era == "2026-07-28" else None)
    assert result.get("_meta") == (META if era == "2026-07-28" else None)
    (part,) = result["content"]
    found: dict[str, Any] = json.loads(part["text"])
    assert found["code"] == "output.blocked" and found["retryable"] is False
    return found


def _leaky_result(wire: Wire, tool: Tool, pinned: str | None) -> dict[str, Any]:
    call = replace(_call(tool, pinned), allowance=wire.allowance)
    wire.responses.begin(wire.allowance)
    run = ToolRun({"text": f"it is {SECRET}", "next_steps": []}, "Done.", {}, frozenset())
    return wire.responses.result(call, run)


@eras
@pinned_or_not
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_withheld_result_of_every_tool_is_an_error_with_a_usable_step(tool: Tool, pinned: str | None, era: str) -> None:
    wire = Wire(pinned)
    found = error_in(wire.sent(_leaky_result(wire, tool, pinned), era), era)
    reads = _call(tool, pinned).request.action_class is ActionClass.READ
    assert ("changed nothing" in found["message"]) == reads
    assert ("outcome is recorded" in found["message"]) == (not reads)
    assert "operator" in found["message"]
    assert found["next_steps"] or tool.name == "status"
    for step in found["next_steps"]:
        assert step["tool"] != tool.name
        called = wire.registry.tools[step["tool"]]
        parse(called, step["arguments"], pinned_user=pinned, forbidden=(), asks=False)
    assert wire.alarms == ["output_filter.exact"]


@eras
def test_withheld_error_or_question_of_a_tool_is_an_error_of_the_tool(era: str) -> None:
    wire = Wire()
    wire.responses.begin(wire.allowance)
    error = {"code": "not_found", "message": SECRET, "retryable": False, "next_steps": []}
    found = error_in(wire.sent(wire.responses.error(wire.allowance, error), era), era)
    assert [step["tool"] for step in found["next_steps"]] == ["status"]
    assert "before you repeat" in found["message"]
    wire.responses.begin(wire.allowance)
    question = {"resultType": "inputRequired", "inputRequests": {"approve": {"message": SECRET}}}
    assert [step["tool"] for step in error_in(wire.sent(question, era), era)["next_steps"]] == ["status"]


@eras
def test_a_response_too_long_to_check_is_an_error_of_the_tool(era: str) -> None:
    wire = Wire()
    wire.responses.begin(wire.allowance)
    long = {"resultType": "complete", "content": [{"type": "text", "text": "x" * MAX_LINE}]}
    assert error_in(wire.sent(long, era), era)["next_steps"]


def test_a_secret_in_what_replaces_the_result_leaves_out_the_call() -> None:
    wire, era = Wire(), "2026-07-28"
    create = next(tool for tool in TOOLS if tool.name == "create_card")
    call = _call(create, None)
    call = replace(call, allowance=wire.allowance, request=replace(call.request, user_id=SECRET))
    wire.responses.begin(wire.allowance)
    run = ToolRun({"text": SECRET, "next_steps": []}, "Done.", {}, frozenset())
    found = error_in(wire.sent(wire.responses.result(call, run), era), era)
    assert [step["tool"] for step in found["next_steps"]] == ["status"]


def test_a_broken_filter_sends_a_constant_protocol_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> bytes:
        raise RuntimeError

    wire = Wire()
    result = _leaky_result(wire, TOOLS[0], None)
    monkeypatch.setattr(filter_module, "squeezed", broken)
    sent = wire.sent(result, "2026-07-28")
    assert sent["id"] is None and sent["error"]["data"] == {"code": "output.blocked"}


def test_an_id_that_contains_a_secret_is_not_repeated() -> None:
    wire = Wire()
    wire.responses.begin(wire.allowance)
    sent = wire.sent({"resultType": "complete", "content": []}, "2026-07-28", SECRET)
    assert sent["id"] is None and sent["error"]["code"] == -32603


@pytest.mark.parametrize("result", [{"contents": [SECRET]}, {"messages": [SECRET]}, {"tools": [SECRET]}, {"x": SECRET}])
def test_withheld_response_that_is_no_tools_result_says_what_to_do(result: dict[str, Any]) -> None:
    sent = Wire().sent(result, "2026-07-28")
    assert (sent["id"], sent["error"]["code"], sent["error"]["data"]) == (7, -32603, {"code": "output.blocked"})
    assert "tell the operator" in sent["error"]["message"] and sent["error"]["message"].endswith(".")
