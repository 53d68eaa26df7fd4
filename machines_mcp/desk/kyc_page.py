"""The identity form. Typed values exist only during the request that submits them, and go only to Machines."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from starlette.responses import Response

from machines_mcp.desk.kyc_form import Field, blamed, drawn, filled, grouped, judged
from machines_mcp.desk.routing import Form, PageRenderer, Place, Visit
from machines_mcp.desk.sign_in import SAYS, decided, is_missing
from machines_mcp.partner.errors import PartnerError

if TYPE_CHECKING:
    from machines_mcp.partner import KycValues
    from machines_mcp.partner.models.kyc import Occupation
    from machines_mcp.permissions.approval import Approval

MOST_OCCUPATIONS = 12
MOST_WORDS = 60

_SAID = {
    "granted": "Sent to Machines. The assistant sees the status of the check, but nothing that you typed.",
    "barred": "A limit in the operator's policy doesn't allow this now, so nothing was sent.",
}
_OVER = "This form is no longer open: it was already sent or refused, or has expired. Nothing was sent now."


@dataclass(frozen=True, slots=True)
class Search:
    """The chosen occupation and the ones that match `words`.

    `fits` counts all matches, `more` the ones not listed. `looked`: the person asked for a search.
    """

    words: str
    found: tuple[Occupation, ...]
    fits: int
    more: int
    looked: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """The form in one request. `fault` is about the passphrase, `wrong` about no single field."""

    approval: Approval
    fields: tuple[Field, ...]
    search: Search
    fault: str = ""
    wrong: str = ""


class KycPage:
    """Shows the form of a waiting approval and accepts it."""

    def __init__(self, front: PageRenderer) -> None:
        self._front = front
        self._channels = front.dependencies.guard.channels

    def places(self) -> list[Place]:
        """Return the route of the form."""
        return [Place(re.compile("/kyc/([0-9a-f]{32})"), look=self.show, change=self.take)]

    async def show(self, visit: Visit) -> Response:
        """Show the empty form."""
        return await self._open(visit, {}, self._empty)

    async def take(self, visit: Visit, form: Form) -> Response:
        """Handle a submitted form: search occupations, report faults, or send it."""
        return await self._open(visit, form, self._judge)

    async def _open(self, visit: Visit, form: Form, go_on: _GoOn) -> Response:
        approval = await self._channels.get(visit.name)
        if approval is None or approval.details.only != "form":
            return self._front.back(visit, _OVER, f"/decisions/{visit.name}")
        try:
            values = await self._front.dependencies.kyc_values(approval.user_id)
        except PartnerError:
            return self._front.templates.plain(
                502, "The form could not be loaded from Machines. Try again in a moment."
            )
        search = _search(values, form.get("occupation_search", "").strip()[:MOST_WORDS], form.get("occupation", ""))
        return await go_on(visit, form, values, Sheet(approval, filled(drawn(values), form), search))

    async def _empty(self, visit: Visit, form: Form, values: KycValues, sheet: Sheet) -> Response:
        return self._page(visit, 200, sheet)

    async def _judge(self, visit: Visit, form: Form, values: KycValues, sheet: Sheet) -> Response:
        # Enter presses the first button, which has no action. With new search words, it means search.
        sends = form.get("action") == "send" or (not form.get("action") and sheet.search.words == form.get("searched"))
        if not sends:
            return self._page(visit, 200, replace(sheet, search=replace(sheet.search, looked=True)))
        typed = form.get("passphrase", "")
        judged_fields = judged(sheet.fields, values, self._front.dependencies.clock())
        lacks = await is_missing(self._front, typed)
        sheet = replace(sheet, fields=judged_fields, fault=SAYS["empty"][1] if lacks else "")
        if lacks or any(field.fault for field in judged_fields):
            return self._page(visit, 422, sheet)
        return await self._send(visit, typed, sheet)

    async def _send(self, visit: Visit, typed: str, sheet: Sheet) -> Response:
        approval_id = sheet.approval.id
        done = await self._front.dependencies.fulfil(
            approval_id,
            {field.name: field.value for field in sheet.fields if field.value},
            lambda: decided(
                self._front, typed, lambda passphrase: self._channels.grant_and_consume(approval_id, "form", passphrase)
            ),
        )
        if done.decision == "faulty":
            return self._page(visit, 422, replace(sheet, fields=blamed(sheet.fields, done.faults), wrong=done.message))
        if done.decision in SAYS:
            status, fault = SAYS[done.decision]
            return self._page(visit, status, replace(sheet, fault=fault))
        said = f"The form was sent, but the call failed. {done.message}" if done.decision == "failed" else _OVER
        return self._front.back(visit, _SAID.get(done.decision, said), f"/decisions/{approval_id}")

    def _page(self, visit: Visit, status: int, sheet: Sheet) -> Response:
        return self._front.page(
            visit,
            "kyc",
            status,
            approval=sheet.approval,
            groups=grouped(sheet.fields),
            faulty=[field for field in sheet.fields if field.fault],
            search=sheet.search,
            fault=sheet.fault,
            wrong=sheet.wrong,
            today=self._front.templates.day(self._front.dependencies.clock()),
        )


_GoOn: TypeAlias = Callable[[Visit, Form, "KycValues", Sheet], Awaitable[Response]]


def _search(values: KycValues, words: str, chosen: str) -> Search:
    """Return the chosen occupation, then the ones that match all words, or if none does, any word."""
    known = values.occupations
    wanted = words.lower().split()
    hits = [one for one in known if all(word in f"{one.label} {one.code}".lower() for word in wanted)]
    hits = hits or [one for one in known if any(word in one.label.lower() for word in wanted)]
    if not wanted and len(known) > MOST_OCCUPATIONS:
        hits = []
    kept = [one for one in known if one.code == chosen]
    found = kept + [one for one in hits if one.code != chosen]
    return Search(words, tuple(found[:MOST_OCCUPATIONS]), len(hits), max(0, len(found) - MOST_OCCUPATIONS))
