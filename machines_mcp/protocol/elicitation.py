"""Elicit a decision through the client's dialog, in both protocol eras.

A response is read only as yes, no or nothing. The stored approval decides whether a yes counts.
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

from machines_mcp.redaction.foreign_text import shortened

ANSWER_SECONDS = 50.0

DialogAnswer = Literal["yes", "no", "nothing"]
Dialog = Literal["result", "request"]
"""Whether the elicitation goes in the result of the call, or in a separate request (older clients)."""

_KEY, _OPEN = "approve", "open"
PAGE = "Decide this on a page on this computer. The AI can't see what is shown or typed there."
# The client chooses its name, and punctuation could make it read like part of the question.
_UNPLAIN = re.compile(r"[^A-Za-z0-9 ._@/-]")
_APPROVE, _REFUSE = ({"decision": decision} for decision in ("approve", "refuse"))
# A required choice without a default, because some clients accept a form without asking anybody.
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "decision": {
            "type": "string",
            "title": "Decision",
            "description": "approve runs the call once; refuse ends it",
            "enum": ["approve", "refuse"],
        }
    },
    "required": ["decision"],
}


def supports_forms(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client supports form elicitation; a bare `elicitation` capability means forms."""
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def dialog_of(ctx: ServerRequestContext[Any, Any]) -> Dialog | None:
    """Return how the client shows a dialog, or None if it shows none."""
    if not supports_forms(ctx):
        return None
    return "result" if asks_in_result(ctx) else "request"


def supports_urls(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client declared URL elicitation. Never assumed."""
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and elicitation.url is not None


def client_name(ctx: ServerRequestContext[Any, Any]) -> str:
    """Return the client's name and version without special characters, at most 80 characters; may be empty."""
    params = ctx.session.client_params
    if params is None:
        return ""
    words = (params.client_info.name, params.client_info.version)
    return shortened(" ".join(_UNPLAIN.sub("", word) for word in words).strip(), 80)


def asks_in_result(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether elicitation goes in the result and its response in the repeated call (2026-07-28 and later)."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def question_result(question: str, approval_id: str) -> types.InputRequiredResult:
    """Return the interim result that makes a modern client ask the person and repeat the call."""
    form = types.ElicitRequestFormParams(message=question, requested_schema=_FORM)
    return types.InputRequiredResult(input_requests={_KEY: types.ElicitRequest(params=form)}, request_state=approval_id)


def read_answer(params: types.CallToolRequestParams) -> DialogAnswer:
    """Return the response that a modern client sent with its repeated call."""
    answer = (params.input_responses or {}).get(_KEY)
    return _verdict(answer) if isinstance(answer, types.ElicitResult) else "nothing"


async def ask(ctx: ServerRequestContext[Any, Any], question: str) -> DialogAnswer:
    """Send an elicitation request to an older client and wait at most 50 seconds for the response."""
    try:
        with anyio.move_on_after(ANSWER_SECONDS):
            with _untraced():
                return _verdict(await ctx.session.elicit_form(question, _FORM, ctx.request_id))
    except (MCPError, ValueError):
        # No capability after all, an error from the client, or a malformed response: none of them approves.
        pass
    return "nothing"


def page_result(page: str, approval_id: str) -> types.InputRequiredResult:
    """Return the interim result that makes a modern client offer the person a page and repeat the call."""
    shown = types.ElicitRequestURLParams(message=PAGE, url=page)
    return types.InputRequiredResult(
        input_requests={_OPEN: types.ElicitRequest(params=shown)}, request_state=approval_id
    )


async def open_page(ctx: ServerRequestContext[Any, Any], page: str, approval_id: str) -> None:
    """Have an older client offer the person a page. Only the page decides; the client's response is ignored."""
    with suppress(MCPError, ValueError), anyio.move_on_after(ANSWER_SECONDS), _untraced():
        await ctx.session.elicit_url(PAGE, page, approval_id, ctx.request_id)


def _untraced() -> AbstractContextManager[Span]:
    """Suppress tracing inside the block: the SDK's span would record the client's error text."""
    return use_span(NonRecordingSpan(SpanContext(1, 1, is_remote=False)))


def _verdict(answer: types.ElicitResult) -> DialogAnswer:
    """Return `yes` only for an accepted form that says `approve` and nothing else."""
    if answer.action == "decline" or (answer.action == "accept" and answer.content == _REFUSE):
        return "no"
    return "yes" if answer.action == "accept" and answer.content == _APPROVE else "nothing"
