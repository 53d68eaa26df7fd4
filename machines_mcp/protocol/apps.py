"""MCP Apps: views that a client shows beside the results of tools, for clients that declare the extension.

The names are those of `mcp.server.apps`, which is too slow to import when a server starts. A client without the
extension sees no view, and no other byte changes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mcp_types as types

from machines_mcp.protocol.registry import Registry

EXTENSION = "io.modelcontextprotocol/ui"
MIME_TYPE = "text/html;profile=mcp-app"
DECLARED: dict[str, dict[str, Any]] = {EXTENSION: {}}
"""What the server declares to a client with the extension."""

# A view requests nothing from anywhere. Without the lists, some hosts would allow their own defaults.
_NO_DOMAINS: dict[str, list[str]] = {
    "connectDomains": [],
    "resourceDomains": [],
    "frameDomains": [],
    "baseUriDomains": [],
}
_SHOWN = {"ui": {"csp": _NO_DOMAINS, "prefersBorder": True}}


def takes_views(capabilities: types.ClientCapabilities | None) -> bool:
    """Whether the client declares the extension with the type of our views."""
    extensions = capabilities.extensions if capabilities is not None else None
    kinds = (extensions or {}).get(EXTENSION, {}).get("mimeTypes")
    return isinstance(kinds, list | tuple) and MIME_TYPE in kinds


@dataclass(frozen=True, slots=True)
class View:
    """A page of ours for a client. `html` returns the whole page, which needs no other file."""

    uri: str
    name: str
    title: str
    description: str
    html: Callable[[], str]


class Views:
    """The views of one server. `links` names the view of each tool that has one, `called` the tools that views call."""

    def __init__(
        self, views: Sequence[View], links: Mapping[str, str], called: Collection[str], registry: Registry
    ) -> None:
        self._views = {view.uri: view for view in views}
        self._links = links
        self._called = called
        self._registry = registry

    def tools(self, capabilities: types.ClientCapabilities | None) -> list[types.Tool]:
        """Return the tools as `tools/list` shows them to a client."""
        return self._linked_tools if takes_views(capabilities) else self._registry.listing

    @cached_property
    def _linked_tools(self) -> list[types.Tool]:
        return [self._linked(tool) for tool in self._registry.listing]

    def _linked(self, tool: types.Tool) -> types.Tool:
        uri = self._links.get(tool.name)
        shown: dict[str, Any] = {} if uri is None else {"resourceUri": uri}
        if tool.name not in self._called:
            # The client then refuses the call of a view, whatever text has got into it.
            shown["visibility"] = ["model"]
        return tool.model_copy(update={"meta": {**(tool.meta or {}), "ui": shown}}) if shown else tool

    def resources(self, capabilities: types.ClientCapabilities | None) -> list[types.Resource]:
        """Return the views as `resources/list` shows them to a client."""
        if not takes_views(capabilities):
            return []
        return [
            types.Resource(
                uri=view.uri,
                name=view.name,
                title=view.title,
                description=view.description,
                mime_type=MIME_TYPE,
                meta=_SHOWN,
            )
            for view in self._views.values()
        ]

    def page(self, uri: str, capabilities: types.ClientCapabilities | None) -> types.ReadResourceResult | None:
        """Return the page of a view for a client; None if this is no view of its."""
        view = self._views.get(uri)
        if view is None or not takes_views(capabilities):
            return None
        page = types.TextResourceContents(uri=uri, mime_type=MIME_TYPE, text=view.html(), meta=_SHOWN)
        return types.ReadResourceResult(contents=[page])
