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
    from machines_mcp.permissions.approval import Approval

MAX_FORMS = 32
"""The most users whose form is remembered as Machines described it."""

_CLOSED = "This form is no longer open: it was already sent, refused or withdrawn. Nothing was sent now."
_SENT = (
    "Sent to Machines",
    "The assistant sees the status of the check, but nothing that you typed. You can close this page.",
)
_ENDS = {
    "granted": _SENT,
    "executing": _SENT,
    "done": _SENT,
    "failed": ("The call failed", "The form was sent, but the call failed. Ask the assistant what to do next."),
    "refused": ("This request was refused", "Nothing was sent. You can close this page."),
    "withdrawn": (
        "This request was withdrawn",
        "The assistant no longer asks for your data. Nothing was sent. You can close this page.",
    ),
    "waiting": ("This form has expired", "Nothing was sent. Ask the assistant to ask for your data again."),
}
"""What a person reads in place of a form that is closed, by the state of its approval: a title and a sentence."""
_EXPIRED = (
    "This form has expired, so nothing was sent. What you typed is still here: ask the assistant to ask for your data"
    " again, then press Send to Machines."
)
_SIGNED_IN_AGAIN = "This desk was locked meanwhile, so nothing was sent. Check what you typed and send it again."
_NEW_REQUEST = "The first request is no longer open. There is a new one, so check what you typed and send it again."


@dataclass(frozen=True, slots=True)
class FormState:
    """The form in one request. `passphrase_fault` is about the passphrase, `message` about no single field."""

    approval: Approval
    fields: tuple[Field, ...]
    passphrase_fault: str = ""
    message: str = ""
    expired: bool = False


class KycPage:
    """Shows the form of a waiting approval and accepts it."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer
        self._guard = renderer.dependencies.guard
        self._channels = self._guard.channels
        self._mask = renderer.dependencies.mask
        self._last_values: dict[str, KycValues] = {}

    def routes(self) -> list[Route]:
        """Return the route of the form."""
        return [Route(re.compile("/kyc/([0-9a-f]{32})"), get=self.show, post=self.submit, again=self.show_again)]

    async def show(self, request: SessionRequest) -> Response:
        """Show the empty form, or how it ended."""
        approval = await self._channels.get(request.path_parameter)
        if approval is not None and approval.details.only == "form":
            return await self._with_form(request, approval, {}, self._show_form)
        found = await self._guard.approvals.get(request.path_parameter)
        if found is None or found.details.only != "form":
            return self._renderer.lead_to(f"/decisions/{request.path_parameter}")
        title, sentence = _ENDS[found.shown_state]
        # A call that failed has its own sentence, which only the next page can tell.
        notice = request.session.take_notice()
        return self._renderer.page(request, "kyc_end", title=title, sentence=notice or sentence, again=False)

    async def submit(self, request: SessionRequest, form: Form) -> Response:
        """Handle a submitted form: report faults, or send it. One that has expired keeps what was typed."""
        approval = await self._channels.get(request.path_parameter)
        if approval is not None and approval.details.only == "form":
            return await self._with_form(request, approval, form, self._handle_submission)
        return await self._show_closed(request, form)

    async def show_again(self, request: SessionRequest, form: Form) -> Response:
        """Show a form that came from an earlier session, with what was typed. Nothing is sent."""
        approval = await self._channels.get(request.path_parameter)
        if approval is None or approval.details.only != "form":
            return await self._show_closed(request, form)
        return await self._with_form(request, approval, form, self._show_typed)

    async def _show_closed(self, request: SessionRequest, form: Form) -> Response:
        found = await self._guard.approvals.get(request.path_parameter)
        if found is None or found.details.only != "form":
            return self._end(request, _CLOSED)
        renewed = [one for one in await self._channels.waiting() if _same_form(one, found)]
        if found.shown_state == "withdrawn" and not renewed:
            return self._end(request, "")
        if found.shown_state != "withdrawn" and not self._guard.approvals.is_expired(found):
            return self._end(request, _CLOSED)
        return await self._with_form(request, renewed[-1] if renewed else found, form, self._show_expired)

    async def _with_form(
        self, request: SessionRequest, approval: Approval, form: Form, handle: _FormHandler
    ) -> Response:
        values = await self._values(approval.user_id)
        if values is None:
            title, sentence = "The form could not be loaded", "Machines did not send it. Try again in a moment."
            return self._renderer.page(request, "kyc_end", 502, title=title, sentence=sentence, again=True)
        return await handle(request, form, FormState(approval, with_values(build_fields(values, self._mask), form)))

    async def _values(self, user_id: str) -> KycValues | None:
        """Return what the form asks for. If Machines fails, it is as it was, so that what was typed can be kept."""
        try:
            self._last_values[user_id] = await self._renderer.dependencies.kyc_values(user_id)
        except PartnerError:
            return self._last_values.get(user_id)
        while len(self._last_values) > MAX_FORMS:
            del self._last_values[next(iter(self._last_values))]
        return self._last_values[user_id]

    async def _show_form(self, request: SessionRequest, form: Form, state: FormState) -> Response:
        return self._page(request, 200, state)

    async def _show_typed(self, request: SessionRequest, form: Form, state: FormState) -> Response:
        return self._page(request, 409, replace(state, message=_SIGNED_IN_AGAIN))

    async def _show_expired(self, request: SessionRequest, form: Form, state: FormState) -> Response:
        expired = self._guard.approvals.is_expired(state.approval)
        message = _EXPIRED if expired else _NEW_REQUEST
        return self._page(request, 409, replace(state, message=message, expired=expired))

    async def _handle_submission(self, request: SessionRequest, form: Form, state: FormState) -> Response:
        typed = form.get("passphrase", "")
        judged_fields = validated(state.fields, self._renderer.dependencies.clock())
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
            return self._end(request, f"The form was sent, but the call failed. {result.message}")
        fault = await passphrase_fault(self._renderer, result.decision)
        if fault is not None:
            return self._page(request, fault[0], replace(state, passphrase_fault=fault[1]))
        if result.decision in ("limit_exceeded", "frozen"):
            return self._page(request, 409, replace(state, message=MESSAGES[result.decision]))
        return self._end(request, "" if result.decision == "granted" else _CLOSED)

    def _end(self, request: SessionRequest, notice: str) -> Response:
        return self._renderer.redirect(request, notice, f"/kyc/{request.path_parameter}")

    def _page(self, request: SessionRequest, status: int, state: FormState) -> Response:
        return self._renderer.page(
            request,
            "kyc",
            status,
            approval=state.approval,
            groups=group_fields(state.fields),
            faulty=[field for field in state.fields if field.fault],
            fault=state.passphrase_fault,
            message=state.message,
            expired=state.expired,
            today=utc_day(self._renderer.dependencies.clock()),
        )


def _same_form(waiting: Approval, expired: Approval) -> bool:
    return waiting.user_id == expired.user_id and waiting.details.only == "form" and waiting.tool == expired.tool


_FormHandler: TypeAlias = Callable[[SessionRequest, Form, FormState], Awaitable[Response]]
