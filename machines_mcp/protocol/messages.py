"""JSON-RPC messages as the lines of a pipe, and what a client's responses say."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from pydantic_core import to_json

from machines_mcp.protocol.exchange import Params
from machines_mcp.protocol.written import WrittenResult

logger = logging.getLogger(__name__)

_INTERNAL = types.ErrorData(code=types.INTERNAL_ERROR, message="internal")


def params_part(params: Params) -> dict[str, Any]:
    """Return the `params` of a message, if it has any."""
    return {} if params is None else {"params": params}


def result_of(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result in a client's response.

    Raises:
        MCPError: It is an error.
    """
    if "error" in response:
        raise MCPError.from_error_data(_read_error(response["error"]))
    result = response["result"]
    return result if isinstance(result, dict) else {}


def _read_error(error: Any) -> types.ErrorData:
    try:
        return types.ErrorData.model_validate(error)
    except ValueError:
        return _INTERNAL


def error_data(error: Exception) -> types.ErrorData:
    """Return the protocol error for an exception of a handler."""
    known = handler_exception_to_error_data(error)
    if known is None:
        logger.error("a request's handler failed: %s", type(error).__name__)
    return known or _INTERNAL


def result_lines(request_id: int | str, result: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the line of a response, and that without the second copy of its object if it has two."""
    if not isinstance(result, WrittenResult):
        return message_line({"jsonrpc": "2.0", "id": request_id, "result": result}), None
    head = f'{{"jsonrpc":"2.0","id":{to_json(request_id).decode()},"result":'
    return f"{head}{result.text}}}\n", None if result.read_once is None else f"{head}{result.read_once}}}\n"


def error_line(request_id: int | str, error: types.ErrorData) -> str:
    """Return the line of an error response."""
    told = error.model_dump(mode="json", by_alias=True, exclude_none=True)
    return message_line({"jsonrpc": "2.0", "id": request_id, "error": told})


def message_line(message: Mapping[str, Any]) -> str:
    """Return the line of a message."""
    return to_json(message, inf_nan_mode="null").decode() + "\n"
