"""Results of `tools/call` that are written once: their object is already JSON in their first text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_types import SERVER_INFO_META_KEY
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
from pydantic_core import to_json

VERSIONS = frozenset({LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION})
"""The protocol versions whose `tools/call` results are written here. The SDK writes those of others."""


class WrittenResult(dict[str, Any]):
    """A result, and its JSON.

    `read_once` is its JSON without the second copy of its object: see `OutputFilter.filtered`.
    """

    __slots__ = ("read_once", "text")

    def __init__(self, result: Mapping[str, Any], text: str, read_once: str | None = None) -> None:
        super().__init__(result)
        self.text = text
        self.read_once = read_once


def server_meta(server_info: Mapping[str, Any]) -> str:
    """Return the `_meta` of results of the newer protocol, which names the server, as JSON."""
    return to_json({SERVER_INFO_META_KEY: server_info}).decode()


def write_result(result: Mapping[str, Any], version: str, meta: str) -> WrittenResult:
    """Write a complete result of `tools/call`, as the SDK would. `meta`: see `server_meta`."""
    first, *more = (to_json(dict(sorted(part.items()))).decode() for part in result["content"])
    members = ['"isError":true'] if result.get("isError") else []
    if version == LATEST_MODERN_VERSION:
        members.append('"resultType":"complete"')
    if "structuredContent" in result:
        # The first text is this object's JSON: see `ResponseBuilder.result`.
        members.append(f'"structuredContent":{result["content"][0]["text"]}')
    if version == LATEST_MODERN_VERSION:
        members.append(f'"_meta":{meta}')
    rest = "".join(f",{member}" for member in members)
    text = f'{{"content":[{",".join((first, *more))}]{rest}}}'
    if "structuredContent" not in result:
        return WrittenResult(result, text)
    return WrittenResult(result, text, f'{{"content":[{",".join(more)}]{rest}}}')
