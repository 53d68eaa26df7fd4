"""The identity form. Typed values exist only during the request that submits them, and go only to Machines."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from starlette.responses import Response

from machines_mcp.desk.kyc_form import Field, build_fields, group_fields, validated, with_reported_faults, with_values
from machines_mcp.desk.routing import Form, PageRenderer, Route, SessionRequest
from machines_mcp.desk.sign_in import EMPTY, passphrase_fault, passphrase_missing, typed_passphrase
from machines_mcp.partner.errors import PartnerError
from machines_mcp.permissions.decision import MESSAGES
from machines_mcp.redaction.display import utc_day

if TYPE_CHECKING:
    from machines_mcp.partner import KycValues
    from machines_mcp.partner.models.kyc import Occupation
    from machines_mcp.permissions.approval import Approval

MAX_OCCUPATIONS = 12
MAX_SEARCH_CHARACTERS = 60

_NOTICES = {
    "granted": "Sent to Machines. The assistant sees the status of the check, but nothing that you typed.",
    "limit_exceeded": MESSAGES["limit_exceeded"],
    "frozen": MESSAGES["frozen"],
}
_CLOSED = "This form is no longer open: it was already sent or refused, or has expired. Nothing was sent now."


@dataclass(frozen=True, slots=True)
class OccupationSearch:
    """The chosen occupation and the ones that match `words`.

    `match_count` counts all matches, `hidden_count` the ones not listed. `requested`: the person asked for a search.
    """

    words: str
    results: tuple[Occupation, ...]
    match_count: int
    hidden_count: int
    requested: bool = False


@dataclass(frozen=True, slots=True)
class FormState:
    """The form in one request. `passphrase_fault` is about the passphrase, `message` about no single field."""

    approval: Approval
    fields: tuple[Field, ...]
    search: OccupationSearch
    passphrase_fault: str = ""
    message: str = ""


class KycPage:
    """Shows the form of a waiting approval and accepts it."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer
        self._channels = renderer.dependencies.guard.channels

    def routes(self) -> list[Route]:
        """Return the route of the form."""
        return [Route(re.compile("/kyc/([0-9a-f]{32})"), get=self.show, post=self.submit)]

    async def show(self, request: SessionRequest) -> Response:
        """Show the empty form."""
        return await self._with_form(request, {}, self._show_form)

    async def submit(self, request: SessionRequest, form: Form) -> Response:
        """Handle a submitted form: search occupations, report faults, or send it."""
        return await self._with_form(request, form, self._handle_submission)

    async def _with_form(self, request: SessionRequest, form: Form, handle: _FormHandler) -> Response:
        approval = await self._channels.get(request.path_parameter)
        if approval is None or approval.details.only != "form":
            return self._renderer.redirect(request, _CLOSED, f"/decisions/{request.path_parameter}")
        try:
            values = await self._renderer.dependencies.kyc_values(approval.user_id)
        except PartnerError:
            return self._renderer.templates.message_response(
                502, "The form could not be loaded from Machines. Try again in a moment."
            )
        search = _search(
            values, form.get("occupation_search", "").strip()[:MAX_SEARCH_CHARACTERS], form.get("occupation", "")
        )
        return await handle(request, form, values, FormState(approval, with_values(build_fields(values), form), search))

    async def _show_form(self, request: SessionRequest, form: Form, values: KycValues, state: FormState) -> Response:
        return self._page(request, 200, state)

    async def _handle_submission(
        self, request: SessionRequest, form: Form, values: KycValues, state: FormState
    ) -> Response:
        # Enter presses the first button, which has no action. With new search words, it means search.
        submitted = form.get("action") == "send" or (
            not form.get("action") and state.search.words == form.get("searched")
        )
        if not submitted:
            return self._page(request, 200, replace(state, search=replace(state.search, requested=True)))
        typed = form.get("passphrase", "")
        judged_fields = validated(state.fields, values, self._renderer.dependencies.clock())
        missing = await passphrase_missing(self._renderer, typed)
        state = replace(state, fields=judged_fields, passphrase_fault=EMPTY if missing else "")
        if missing or any(field.fault for field in judged_fields):
            return self._page(request, 422, state)
        return await self._send(request, typed, state)

    async def _send(self, request: SessionRequest, typed: str, state: FormState) -> Response:
        approval_id = state.approval.id
        result = await self._renderer.dependencies.submit_form(
            approval_id,
            {field.name: field.value for field in state.fields if field.value},
            lambda: self._channels.grant_and_consume(approval_id, "form", typed_passphrase(self._renderer, typed)),
        )
        if result.decision == "faulty":
            return self._page(
                request,
                422,
                replace(state, fields=with_reported_faults(state.fields, result.faults), message=result.message),
            )
        if result.decision == "failed":
            notice = f"The form was sent, but the call failed. {result.message}"
            return self._renderer.redirect(request, notice, f"/decisions/{approval_id}")
        fault = await passphrase_fault(self._renderer, result.decision)
        if fault is not None:
            return self._page(request, fault[0], replace(state, passphrase_fault=fault[1]))
        return self._renderer.redirect(request, _NOTICES.get(result.decision, _CLOSED), f"/decisions/{approval_id}")

    def _page(self, request: SessionRequest, status: int, state: FormState) -> Response:
        return self._renderer.page(
            request,
            "kyc",
            status,
            approval=state.approval,
            groups=group_fields(state.fields),
            faulty=[field for field in state.fields if field.fault],
            search=state.search,
            fault=state.passphrase_fault,
            message=state.message,
            today=utc_day(self._renderer.dependencies.clock()),
        )


_FormHandler: TypeAlias = Callable[[SessionRequest, Form, "KycValues", FormState], Awaitable[Response]]


def _search(values: KycValues, words: str, chosen: str) -> OccupationSearch:
    """Return the chosen occupation, then the ones that match."""
    hits = values.matching_occupations(words)
    if not words.strip() and len(hits) > MAX_OCCUPATIONS:
        hits = []
    kept = [one for one in values.occupations if one.code == chosen]
    found = kept + [one for one in hits if one.code != chosen]
    return OccupationSearch(words, tuple(found[:MAX_OCCUPATIONS]), len(hits), max(0, len(found) - MAX_OCCUPATIONS))
