"""Filter every outgoing line: protocol errors get constant text, and apparent secrets are masked.

The SDK's errors echo parts of a bad request, such as an unknown method's name, and could carry any text to a model.
A filtered error keeps only its code, its id and the versions or capabilities it names.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import from_json, to_json

from machines_mcp.protocol.allowance import NOTHING, Allowance
from machines_mcp.protocol.request_id import request_id
from machines_mcp.redaction.output_filter import OutputFilter

_TEXT = {
    -32700: "Parse error",
    -32600: "Invalid request",
    -32601: "Method not found",
    -32602: "Invalid params",
    -32603: "Internal error",
    -32000: "Connection closed",
    -32020: "Header mismatch",
    -32021: "Missing client capability",
    -32022: "Unsupported protocol version",
}
# Versions are dates. Longer strings could be a secret.
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
BLOCKED = {
    "code": -32603,
    "message": (
        "The response was withheld because it would have shown a secret or could not be checked. Do not ask again; tell"
        " the operator, who can run machines-mcp audit show --kind alarm."
    ),
    "data": {"code": "output.blocked"},
}
"""The error in place of a withheld response that is not a tool's."""
# Where the SDK puts the server's name into each result of the newer protocol era.
_SERVER = "io.modelcontextprotocol/serverInfo"
# The capabilities, and their parts, that an error may name as missing. Other settings are dropped.
_CAPABILITIES = {"elicitation": ("form", "url"), "sampling": ("context", "tools"), "roots": ()}
# Larger numbers are not accepted as ids: not every client can parse them, and Python does not print the longest.
MAX_ID = 2**63


_HEAD = re.compile(r'\{"jsonrpc":"2\.0","id":("(?:[^"\\]|\\.)*"|-?\d+|null),"(result|error|method)":')
"""The start of an outgoing line that has an id: groups are the id and the kind."""


class OutgoingLines:
    """Turns finished lines into the lines to send."""

    def __init__(self, output_filter: OutputFilter) -> None:
        self._output_filter = output_filter

    def outgoing(self, line: str, allowance: Allowance = NOTHING, read_once: str | None = None) -> str:
        """Return the line to send in place of `line`, with apparent secrets masked; empty if it must not be sent.

        Every outgoing line passes here: results, errors, progress and elicitation. `read_once`: see
        `OutputFilter.filtered`.
        """
        if kind(line) == "error":
            line = _constant_error(line)
        shown = self._output_filter.filtered(line, allowance.values, read_once=read_once)
        return self._withheld(line, allowance) if shown is None else shown

    def _withheld(self, line: str, allowance: Allowance) -> str:
        """Return an error in place of a withheld response, or an empty line for other messages."""
        given = answered_id(line)
        if kind(line) == "result":
            for make in allowance.instead:
                shown = self._output_filter.filtered(_replaced(line, given, make()), allowance.values)
                if shown is not None:
                    return shown
        if kind(line) not in ("result", "error"):
            return ""
        known = None if self._output_filter.filtered(json.dumps(given)) is None else given
        return json.dumps({"jsonrpc": "2.0", "id": known, "error": BLOCKED}) + "\n"


def kind(line: str) -> str:
    """Return the kind of a line: `result`, `error`, `method` (a request to the client) or `notification`."""
    head = _HEAD.match(line)
    return head[2] if head else "notification"


def answered_id(line: str) -> int | str | None:
    """Return the id of the request that a line answers, or None for any other line."""
    head = _HEAD.match(line)
    return json.loads(head[1]) if head and head[2] != "method" else None


def is_id(given: object) -> bool:
    """Whether this is a valid request id."""
    return isinstance(given, str) or (type(given) is int and -MAX_ID <= given < MAX_ID)


def parse_error(line: bytes) -> str:
    """Return the error response to a line that is not JSON, or its beginning. It has the request's id if readable."""
    return _refusal(-32700, request_id(line))


def invalid_request(message: object) -> str:
    """Return the error response to a line that is JSON but not a JSON-RPC message."""
    return _refusal(-32600, message.get("id") if isinstance(message, dict) else None)


def _refusal(code: int, given: object) -> str:
    known = given if is_id(given) and len(str(given)) <= 80 else None
    return json.dumps({"jsonrpc": "2.0", "id": known, "error": {"code": code, "message": _TEXT[code]}}) + "\n"


def _replaced(line: str, given: int | str | None, result: dict[str, Any]) -> str:
    """Return a line with this result, in the form of the protocol era of the withheld line."""
    before = _object(_parsed(line).get("result"))
    if "resultType" not in before:
        result = {name: part for name, part in result.items() if name != "resultType"}
    server = _object(before.get("_meta")).get(_SERVER)
    meta = {} if server is None else {"_meta": {_SERVER: server}}
    return to_json({"jsonrpc": "2.0", "id": given, "result": result | meta}).decode() + "\n"


def _parsed(line: str) -> dict[str, Any]:
    try:
        return _object(from_json(line, cache_strings="keys"))
    except ValueError:
        return {}


def _constant_error(line: str) -> str:
    message = json.loads(line)
    error = message["error"]
    code = error.get("code")
    code = code if code in _TEXT else -32603
    clean: dict[str, Any] = {"code": code, "message": _TEXT[code]}
    if code == -32021:
        clean["data"] = _capabilities(error.get("data"))
    if code == -32022:
        clean["data"] = _versions(error.get("data"))
    return json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "error": clean}) + "\n"


def _capabilities(data: Any) -> dict[str, Any]:
    given = _object(_object(data).get("requiredCapabilities"))
    known: dict[str, Any] = {
        name: {part: {} for part in parts if part in _object(given[name])}
        for name, parts in _CAPABILITIES.items()
        if name in given
    }
    return {"requiredCapabilities": known}


def _versions(data: Any) -> dict[str, Any]:
    given = _object(data)
    requested = given.get("requested")
    plain = isinstance(requested, str) and _VERSION.fullmatch(requested)
    return {"supported": given.get("supported", []), "requested": requested if plain else "unknown"}


def _object(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}
