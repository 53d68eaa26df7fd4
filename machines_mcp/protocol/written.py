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
    """A result, and its JSON."""

    __slots__ = ("text",)

    def __init__(self, result: Mapping[str, Any], text: str) -> None:
        super().__init__(result)
        self.text = text


def write_result(result: Mapping[str, Any], version: str, server_info: Mapping[str, Any]) -> WrittenResult:
    """Write a complete result of `tools/call`, as the SDK would.

    `server_info` is what results of the newer protocol say of their server.
    """
    content = ",".join(to_json(dict(sorted(part.items()))).decode() for part in result["content"])
    members = [f'"content":[{content}]']
    if result.get("isError"):
        members.append('"isError":true')
    if version == LATEST_MODERN_VERSION:
        members.append('"resultType":"complete"')
    if "structuredContent" in result:
        # The first text is this object's JSON: see `ResponseBuilder.result`.
        members.append(f'"structuredContent":{result["content"][0]["text"]}')
    if version == LATEST_MODERN_VERSION:
        members.append(f'"_meta":{to_json({SERVER_INFO_META_KEY: server_info}).decode()}')
    return WrittenResult(result, f"{{{','.join(members)}}}")
