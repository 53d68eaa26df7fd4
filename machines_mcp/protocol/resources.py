"""Serve resources: the results of read tools at an address, and the map of the journey.

If the server is pinned to one user, an address names no user: `machines://cards/{card_id}`. Otherwise it does:
`machines://users/{user_id}/cards/{card_id}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from machines_mcp.protocol.dispatcher import Dispatcher
from machines_mcp.protocol.errors import ToolError
from machines_mcp.protocol.registry import Registry

SCHEME = "machines://"

# Clients of older revisions may reject a result with an unknown content type. Revisions are dates.
_LINKS_SINCE = "2025-06-18"

_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Resource:
    """An address below the user's, and the read tool that serves it, or a fixed text."""

    path: str
    title: str
    description: str
    tool: str | None = None
    text: str | None = None
    linked_by: tuple[str, ...] = ()
    """The tools whose results link to this resource and have the values that fill its address."""

    @property
    def name(self) -> str:
        """The path without its placeholders, as a name."""
        return _PLACE.sub("", self.path).strip("/").replace("/", "_") or self.path


class Resources:
    """The resources that a server's settings and policy allow."""

    def __init__(self, resources: Sequence[Resource], registry: Registry, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        prefix = "" if registry.principal.pinned is not None else "users/{user_id}/"
        usable = [r for r in resources if r.tool is None or r.tool in registry.usable_names]
        self.linking = frozenset(name for r in usable for name in r.linked_by)
        """The tools whose results can link to a resource."""
        self._by_template = {SCHEME + ("" if r.tool is None else prefix) + r.path: r for r in usable}

    def listed(self) -> list[types.Resource]:
        """Return the resources with a fixed address."""
        return [
            types.Resource(
                uri=uri, name=found.name, title=found.title, description=found.description, mime_type=_kind(found)
            )
            for uri, found in self._by_template.items()
            if not _PLACE.search(uri)
        ]

    def templates(self) -> list[types.ResourceTemplate]:
        """Return the resources whose address has placeholders."""
        return [
            types.ResourceTemplate(
                uri_template=uri,
                name=found.name,
                title=found.title,
                description=found.description,
                mime_type=_kind(found),
            )
            for uri, found in self._by_template.items()
            if _PLACE.search(uri)
        ]

    async def read(self, ctx: ServerRequestContext[Any, Any], uri: str) -> types.ReadResourceResult:
        """Return the resource at an address.

        Raises:
            MCPError: There is none, or its tool returns an error now.
        """
        for template, found in self._by_template.items():
            places = _match(template, uri)
            if places is not None:
                text = found.text if found.tool is None else await self._answer(ctx, found.tool, places)
                content = types.TextResourceContents(uri=uri, mime_type=_kind(found), text=text or "")
                return types.ReadResourceResult(contents=[content])
        raise MCPError(code=types.INVALID_PARAMS, message="no such resource")

    def link(self, revision: str, params: types.CallToolRequestParams, answer: Any) -> None:
        """Add links to a successful result, to the resources that show its objects."""
        if not isinstance(answer, dict) or "structuredContent" not in answer or revision < _LINKS_SINCE:
            return
        known = {**answer["structuredContent"], **(params.arguments or {})}
        for template, found in self._by_template.items():
            names = _PLACE.findall(template)
            places = {name: known[name] for name in names if isinstance(known.get(name), str)}
            if params.name in found.linked_by and len(places) == len(names):
                answer["content"].append(_link(found, address(template, **places)))

    async def _answer(self, ctx: ServerRequestContext[Any, Any], tool: str, places: Mapping[str, str]) -> str:
        try:
            body = await self._dispatcher.read(ctx, tool, places)
        except ToolError:
            raise MCPError(code=types.INVALID_PARAMS, message="not available") from None
        return json.dumps(body, ensure_ascii=False, indent=1)


def address(template: str, **places: str) -> str:
    """Fill the placeholders of an address."""
    return _PLACE.sub(lambda place: quote(places[place[1]], safe=""), template)


def _link(resource: Resource, uri: str) -> dict[str, str]:
    named = {"uri": uri, "name": resource.name, "title": resource.title, "mimeType": _kind(resource)}
    return {"type": "resource_link", **named}


def _match(template: str, uri: str) -> dict[str, str] | None:
    # Splitting by a pattern with one group puts the groups, here the placeholder names, at odd indices.
    parts = _PLACE.split(template)
    pattern = "".join(re.escape(part) if n % 2 == 0 else f"(?P<{part}>[^/?#]{{1,400}})" for n, part in enumerate(parts))
    found = re.fullmatch(pattern, uri)
    return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


def _kind(resource: Resource) -> str:
    return "text/markdown" if resource.tool is None else "application/json"
