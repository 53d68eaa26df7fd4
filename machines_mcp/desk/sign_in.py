"""Signing in with the passphrase, where anything is real; and out."""

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
    "wrong": (403, "That is not the passphrase."),
    "locked": (429, "There were five wrong tries. For 15 minutes no passphrase is looked at, not even the right one."),
    "unset": (409, "No passphrase is set yet. Set one in a terminal on this machine: machines-mcp passphrase"),
}
"""Status and sentence for what a passphrase can lead to, other than success."""


async def with_passphrase(
    front: PageRenderer, typed: str, decide: Callable[[Secret | None], Awaitable[Decision]]
) -> Decision | Literal["empty"]:
    """Ask for a decision with what was typed; `empty` where that is nothing and something is needed."""
    return "empty" if await is_missing(front, typed) else await decided(front, typed, decide)


async def is_missing(front: PageRenderer, typed: str) -> bool:
    """Whether a passphrase is needed and none was typed: that is no try."""
    return not typed and not front.dependencies.simulated and await front.dependencies.guard.passphrase.is_set()


async def decided(front: PageRenderer, typed: str, decide: Callable[[Secret | None], Awaitable[Decision]]) -> Decision:
    """The decision with what was typed, one at a time."""
    if front.dependencies.simulated:
        return await decide(None)
    async with front.turn:
        return await decide(Secret(typed))


def sign_in_page(front: PageRenderer, request: Request, path: str, says: str = "") -> Response:
    """The page that asks for the passphrase before `path` is shown."""
    status, fault = SAYS.get(says, (401, ""))
    token = front.sessions.form_token(None, SIGN_IN)
    # Such a link comes without the cookie, even where there is one; the next step within the desk has it.
    linked = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return front.templates.page("sign_in", status, path=path, token=token, fault=fault, linked=linked, says=says)


def sign_in_place(front: PageRenderer) -> dict[tuple[str, str], Callable[[Request], Awaitable[Response]]]:
    """What is open to everybody: the form that signs in."""

    async def sign_in(request: Request) -> Response:
        form = read_form(await request.body())
        if form is None or not front.sessions.is_form_token(None, SIGN_IN, form.get("token", "")):
            return front.templates.plain(403, "This form is not of this desk; open the page again.")
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
    """The form that signs out."""

    async def sign_out(visit: Visit, form: Form) -> Response:
        front.sessions.end(visit.session)
        response = RedirectResponse("/", 303)
        response.headers["Set-Cookie"] = front.sessions.cookie_header(None)
        return response

    return Place(re.compile(SIGN_OUT), change=sign_out)


def _own_path(path: str) -> str:
    return path if re.fullmatch(r"/(?:audit|(?:kyc|decisions)/[0-9a-f]{32})?", path) else "/"
