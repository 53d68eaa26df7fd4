"""Build the MCP server. One wrapper round every handler keeps exception texts from clients."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import mcp_types as types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from machines_mcp.protocol import elicitation
from machines_mcp.protocol.apps import DECLARED, takes_views
from machines_mcp.protocol.errors import Code
from machines_mcp.protocol.prompts import Prompt, load_prompts
from machines_mcp.protocol.subscriptions import Subscriptions

if TYPE_CHECKING:
    from machines_mcp.protocol.apps import Views
    from machines_mcp.protocol.completion import Completions
    from machines_mcp.protocol.dispatcher import Dispatcher, ToolAnswer
    from machines_mcp.protocol.reconciliation import Reconciler
    from machines_mcp.protocol.registry import Registry
    from machines_mcp.protocol.resources import Resources

logger = logging.getLogger(__name__)

P = TypeVar("P")
R = TypeVar("R")

Context = ServerRequestContext[Any, Any]

NAME = "machines-mcp"

# Lists don't change while the server runs, and a client's connection ends with it.
_CONSTANT = CacheHint(ttl_ms=24 * 60 * 60 * 1000)
# Responses are private to one operator and partner, so nobody else may get a cached one.
_PRIVATE: dict[CacheableMethod, CacheHint] = {
    "tools/list": _CONSTANT,
    "prompts/list": _CONSTANT,
    "resources/list": _CONSTANT,
    "resources/templates/list": _CONSTANT,
    "resources/read": CacheHint(),
    "server/discover": _CONSTANT,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """The title, version and instructions that the server sends to clients."""

    title: str
    version: str
    instructions: str


# A card. Small, because every 2026-07-28 response carries it; and without percent signs, which would have each of them
# searched for escapes.
_CARD = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'><path d='M0 1h8v1H0zM0 3h8v4H0z'/></svg>"
ICON = types.Icon(
    src="data:image/svg+xml;base64," + b64encode(_CARD.encode()).decode(),
    mime_type="image/svg+xml",
    sizes=["any"],
)


def contained(handler: Callable[[Context, P], Awaitable[R]]) -> Callable[[Context, P], Awaitable[R]]:
    """Turn any exception of a handler into a constant protocol error.

    Without it, the SDK would send an exception's text verbatim to 2025-11-25 clients. A `sys.exit` or a library's
    stray cancellation would stop the server.
    """

    async def run(ctx: Context, params: P) -> R:
        try:
            return await handler(ctx, params)
        except MCPError as error:
            raise MCPError(code=error.code, message="refused") from None
        except BaseException as error:
            if _is_meant(error):
                raise
            logger.error("a handler failed: %s", type(error).__name__)
        raise MCPError(code=types.INTERNAL_ERROR, message="internal")

    return run


def _is_meant(error: BaseException) -> bool:
    if isinstance(error, asyncio.CancelledError):
        # Tell a cancellation of this task from one that a library raised by itself.
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The components that handle requests."""

    registry: Registry
    dispatcher: Dispatcher
    resources: Resources
    views: Views
    completions: Completions
    reconciler: Reconciler


def build_server(identity: Identity, load: Callable[[], Loaded], state_security: RequestStateSecurity) -> Server[Any]:
    """Build the server with all handlers. `load` runs at the first request that needs it, for a fast start."""
    load = cache(load)

    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=load().views.tools(_declared(ctx)))

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> ToolAnswer:
        return await _called(load(), watching, ctx, params)

    async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[prompt.shown() for prompt in _prompts(load()).values()])

    async def get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        prompt = _prompts(load()).get(params.name)
        if prompt is None:
            raise MCPError(code=types.INVALID_PARAMS, message="unknown prompt")
        return prompt.filled(params.arguments or {})

    async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        views = load().views.resources(_declared(ctx))
        return types.ListResourcesResult(resources=load().resources.listed() + views)

    async def list_templates(
        ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=load().resources.templates())

    async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        page = load().views.page(params.uri, _declared(ctx))
        return page or await load().resources.read(ctx, params.uri)

    async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        return await load().completions.complete(ctx, params)

    watching = Subscriptions(read_resource)
    # The SDK's types ask for a model. Its runner accepts a mapping too, which saves serializing twice.
    call: Any = contained(call_tool)
    server: Server[Any] = Server(
        NAME,
        version=identity.version,
        title=identity.title,
        instructions=identity.instructions,
        website_url="https://docs.machines.cash",
        icons=[ICON],
        lifespan=watching.running,
        cache_hints=_PRIVATE,
        on_list_tools=contained(list_tools),
        on_call_tool=call,
        on_list_prompts=contained(list_prompts),
        on_get_prompt=contained(get_prompt),
        on_list_resources=contained(list_resources),
        on_list_resource_templates=contained(list_templates),
        on_read_resource=contained(read_resource),
        on_subscribe_resource=contained(watching.subscribe),
        on_unsubscribe_resource=contained(watching.unsubscribe),
        on_subscriptions_listen=contained(watching.listen),
        on_completion=contained(complete),
    )
    server.add_request_handler("server/discover", types.RequestParams, contained(_discovering(server)))
    # Replaces the SDK's tracing, which would put rejected tool names and texts in spans.
    server.middleware[:] = [RequestStateBoundary(state_security, default_audience=NAME)]
    return server


def _declared(ctx: Context) -> types.ClientCapabilities | None:
    return ctx.session.client_capabilities


def _prompts(loaded: Loaded) -> Mapping[str, Prompt]:
    usable = loaded.registry.usable_names
    return {name: prompt for name, prompt in load_prompts().items() if prompt.fits(usable)}


async def _called(
    loaded: Loaded, watching: Subscriptions, ctx: Context, params: types.CallToolRequestParams
) -> ToolAnswer:
    try:
        answer = await loaded.dispatcher.call(ctx, params)
    finally:
        if params.name in loaded.registry.mutating_names or (params.arguments or {}).get("wait_seconds"):
            watching.touch()
    if params.name in loaded.resources.linking:
        loaded.resources.link(ctx.protocol_version, params, answer)
    if isinstance(answer, dict) and "isError" in answer:
        return await _offered(loaded.dispatcher, ctx, params, answer)
    return answer


async def _offered(
    dispatcher: Dispatcher, ctx: Context, params: types.CallToolRequestParams, answer: dict[str, Any]
) -> ToolAnswer:
    """If a call is decided on its own page, have a client with URL elicitation offer that page once.

    The result stays `approval.required` while nobody has decided, because opening a page decides nothing.
    """
    repeated = params.request_state is not None or "approval_id" in (params.arguments or {})
    if repeated or not elicitation.supports_urls(ctx):
        return answer
    body = json.loads(answer["content"][0]["text"])
    if body["code"] != Code.APPROVAL_REQUIRED.value or "page" not in body:
        return answer
    if elicitation.asks_in_result(ctx):
        return elicitation.page_result(body["page"], body["approval_id"])
    page, approval_id = body["page"], body["approval_id"]
    if await dispatcher.approvals.still_waits(approval_id, lambda: elicitation.open_page(ctx, page, approval_id)):
        return answer
    again = {"arguments": (params.arguments or {}) | {"approval_id": approval_id}}
    return await dispatcher.call(ctx, params.model_copy(update=again))


def _discovering(
    server: Server[Any],
) -> Callable[[Context, types.RequestParams | None], Awaitable[types.DiscoverResult]]:
    """Return a `server/discover` handler. The SDK's would declare `list_changed` for lists that never change."""

    async def discover(ctx: Context, params: types.RequestParams | None) -> types.DiscoverResult:
        known = server.get_capabilities(protocol_version=ctx.protocol_version)
        parts = {name: getattr(known, name) for name in ("tools", "prompts", "resources")}
        fixed: dict[str, Any] = {
            name: part.model_copy(update={"list_changed": False}) for name, part in parts.items() if part
        }
        if takes_views(_declared(ctx)):
            fixed["extensions"] = DECLARED
        return types.DiscoverResult(
            supported_versions=list(MODERN_PROTOCOL_VERSIONS),
            capabilities=known.model_copy(update=fixed),
            instructions=server.instructions,
        )

    return discover
