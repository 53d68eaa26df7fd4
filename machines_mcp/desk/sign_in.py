"""Sign in to the desk with the passphrase (not needed in the simulator), and sign out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from machines_mcp.desk.routing import Form, PageRenderer, Place, Visit, read_form
from machines_mcp.permissions.channels import Decision
from machines_mcp.redaction.secret import Secret

SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"

SAYS: dict[str, tuple[int, str]] = {
    "empty": (422, "Type your passphrase first."),
    "wrong": (403, "Wrong passphrase."),
    "locked": (429, "Locked after five wrong passphrases. Try again in 15 minutes."),
    "unset": (409, "No passphrase is set yet. Set one in a terminal on this machine: machines-mcp passphrase"),
}
"""HTTP status and message for each passphrase result except success."""


async def with_passphrase(
    front: PageRenderer, typed: str, decide: Callable[[Secret | None], Awaitable[Decision]]
) -> Decision | Literal["empty"]:
    """Return the decision for the typed passphrase, or `empty` if one is required and none was typed."""
    return "empty" if await is_missing(front, typed) else await decided(front, typed, decide)


async def is_missing(front: PageRenderer, typed: str) -> bool:
    """Return whether a required passphrase is missing. A missing one does not count as an attempt."""
    return not typed and not front.dependencies.simulated and await front.dependencies.guard.passphrase.is_set()


async def decided(front: PageRenderer, typed: str, decide: Callable[[Secret | None], Awaitable[Decision]]) -> Decision:
    """Return the decision for the typed passphrase, checking one at a time."""
    if front.dependencies.simulated:
        return await decide(None)
    async with front.turn:
        return await decide(Secret(typed))


def sign_in_page(front: PageRenderer, request: Request, path: str, says: str = "") -> Response:
    """Return the sign-in page, which leads to `path` afterwards."""
    status, fault = SAYS.get(says, (401, ""))
    token = front.sessions.form_token(None, SIGN_IN)
    # Browsers omit the SameSite=Strict cookie if another site's link leads here. The next request includes it.
    linked = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return front.templates.page("sign_in", status, path=path, token=token, fault=fault, linked=linked, says=says)


def sign_in_place(front: PageRenderer) -> dict[tuple[str, str], Callable[[Request], Awaitable[Response]]]:
    """Return the route that needs no session: the sign-in form."""

    async def sign_in(request: Request) -> Response:
        form = read_form(await request.body())
        if form is None or not front.sessions.is_form_token(None, SIGN_IN, form.get("token", "")):
            return front.templates.plain(403, "This form is not from this desk. Open the page again.")
        path = _own_path(form.get("path", ""))
        says = await with_passphrase(
            front, form.get("passphrase", ""), front.dependencies.guard.channels.check_passphrase
        )
        if says != "granted":
            return sign_in_page(front, request, path, says)
        response = RedirectResponse(path, 303)
        response.headers["Set-Cookie"] = front.sessions.cookie_header(front.sessions.begin())
        return response

    return {("POST", SIGN_IN): sign_in}


def sign_out_place(front: PageRenderer) -> Place:
    """Return the sign-out route."""

    async def sign_out(visit: Visit, form: Form) -> Response:
        front.sessions.end(visit.session)
        response = RedirectResponse("/", 303)
        response.headers["Set-Cookie"] = front.sessions.cookie_header(None)
        return response

    return Place(re.compile(SIGN_OUT), change=sign_out)


def _own_path(path: str) -> str:
    return path if re.fullmatch(r"/(?:audit|(?:kyc|decisions)/[0-9a-f]{32})?", path) else "/"
