"""Asking the person through the client's own dialog, in both protocol eras.

What comes back is only ever read as yes, no, or nothing. Whether a yes counts is for the intent's row to say.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, suppress
from typing import Any, Literal

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, use_span

ANSWER_SECONDS = 50.0

Answer = Literal["yes", "no", "nothing"]

_KEY, _OPEN = "approve", "open"
PAGE = "This is decided on a page of this computer, where the AI sees nothing of what is shown or typed."
# A name that could pass for words of the question would be worth something to whoever chose it.
_UNPLAIN = re.compile(r"[^A-Za-z0-9 ._@/-]")
# An accept or decline is the whole answer: there is nothing to fill in.
_FORM: dict[str, Any] = {"type": "object", "properties": {}}


def supports_forms(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client declared a form dialog; a bare `elicitation` means forms."""
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def supports_urls(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client declared that it can send the person to an address; no client is taken to."""
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and elicitation.url is not None


def client_name(ctx: ServerRequestContext[Any, Any]) -> str:
    """What the client program calls itself, as far as it is plain: a name and a version, or nothing."""
    params = ctx.session.client_params
    if params is None:
        return ""
    words = (params.client_info.name, params.client_info.version)
    return " ".join(_UNPLAIN.sub("", word)[:40] for word in words).strip()[:80]


def asks_in_result(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether questions travel in the result and come back with the repeated call (2026-07-28 and later)."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def question_result(question: str, approval_id: str) -> types.InputRequiredResult:
    """The interim result that makes a modern client ask and call again."""
    form = types.ElicitRequestFormParams(message=question, requested_schema=_FORM)
    return types.InputRequiredResult(input_requests={_KEY: types.ElicitRequest(params=form)}, request_state=approval_id)


def read_answer(params: types.CallToolRequestParams) -> Answer:
    """The answer that a modern client brought along with its repeated call."""
    answer = (params.input_responses or {}).get(_KEY)
    return _verdict(answer) if isinstance(answer, types.ElicitResult) else "nothing"


async def ask(ctx: ServerRequestContext[Any, Any], question: str) -> Answer:
    """Ask over the back-channel of an older client and wait for the answer, at most 50 seconds."""
    try:
        with anyio.move_on_after(ANSWER_SECONDS):
            with _untraced():
                return _verdict(await ctx.session.elicit_form(question, _FORM, ctx.request_id))
    except (MCPError, ValueError):
        # No capability after all, a refusal by the client program, or an answer out of form: all mean no approval.
        pass
    return "nothing"


def page_result(page: str, approval_id: str) -> types.InputRequiredResult:
    """The interim result that makes a modern client offer the person a page and call again."""
    shown = types.ElicitRequestURLParams(message=PAGE, url=page)
    return types.InputRequiredResult(
        input_requests={_OPEN: types.ElicitRequest(params=shown)}, request_state=approval_id
    )


async def open_page(ctx: ServerRequestContext[Any, Any], page: str, approval_id: str) -> None:
    """Have an older client offer the person a page. What it answers decides nothing: the page does."""
    with suppress(MCPError, ValueError), anyio.move_on_after(ANSWER_SECONDS), _untraced():
        await ctx.session.elicit_url(PAGE, page, approval_id, ctx.request_id)


def _untraced() -> AbstractContextManager[Span]:
    """What begins within it is in no trace: the SDK's span would tell the client's own words for not answering."""
    return use_span(NonRecordingSpan(SpanContext(1, 1, is_remote=False)))


def _verdict(answer: types.ElicitResult) -> Answer:
    if answer.action == "accept":
        return "yes"
    return "no" if answer.action == "decline" else "nothing"
