"""Sign in to the desk with the passphrase (not needed in the simulator), and sign out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from machines_mcp.desk.identity_page import NAME
from machines_mcp.desk.routing import Form, PageRenderer, Route, SessionRequest, read_form
from machines_mcp.desk.sessions import Session
from machines_mcp.desk.withdrawal_pages import WITHDRAWAL_ID
from machines_mcp.permissions.decision import Decision
from machines_mcp.permissions.passphrase_tries import PassphrasePlace
from machines_mcp.redaction.secret import Secret

SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"

EMPTY = "Type your passphrase first."
_STATUS: dict[Decision, int] = {"wrong": 403, "delayed": 429, "unset": 409}


async def passphrase_fault(
    renderer: PageRenderer, result: Decision | Literal["empty"], place: PassphrasePlace = "desk"
) -> tuple[int, str] | None:
    """Return the HTTP status and the message if the passphrase was missing or not accepted, else None."""
    if result == "empty":
        return 422, EMPTY
    if result not in _STATUS:
        return None
    return _STATUS[result], await renderer.dependencies.guard.passphrase.tries.explain(result, place)


async def decide_with_passphrase(
    renderer: PageRenderer, typed: str, decide: Callable[[Secret | None], Awaitable[Decision]]
) -> Decision | Literal["empty"]:
    """Return the decision for the typed passphrase, or `empty` if one is required and none was typed."""
    if await passphrase_missing(renderer, typed):
        return "empty"
    return await decide(typed_passphrase(renderer, typed))


def typed_passphrase(renderer: PageRenderer, typed: str) -> Secret | None:
    """Return the typed passphrase, or None in the simulator, which needs none."""
    return None if renderer.dependencies.simulated else Secret(typed)


async def passphrase_missing(renderer: PageRenderer, typed: str) -> bool:
    """Return whether a required passphrase is missing. A missing one does not count as an attempt."""
    return not typed and not renderer.dependencies.simulated and await renderer.dependencies.guard.passphrase.is_set()


def sign_in_page(
    renderer: PageRenderer,
    request: Request,
    path: str,
    result: tuple[int, str] | None = None,
    typed: Form | None = None,
) -> Response:
    """Return the sign-in page, which leads to `path` afterwards. `result` is the fault of the last try.

    It keeps what was `typed` into a form at `path`, and sends it there.
    """
    status, fault = result or (401, "")
    action = SIGN_IN if typed is None else path
    token = renderer.sessions.form_token(None, action)
    locked = result is None and (typed is not None or renderer.sessions.has_cookie(request.cookies))
    # Browsers omit the SameSite=Strict cookie if another site's link leads here. The next request includes it.
    linked = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    response = renderer.templates.page(
        "sign_in", status, path=path, token=token, fault=fault, linked=linked, locked=locked, action=action, typed=typed
    )
    if linked:
        response.headers["Refresh"] = f"0; url={renderer.dependencies.base_path}{path}"
    return response


async def sign_in_again(renderer: PageRenderer, request: Request, path: str, form: Form) -> Session | Response:
    """Return a session for a form whose session has ended, or the sign-in page, which keeps what was typed."""
    shared = renderer.sessions.shared_session()
    if shared is not None:
        return shared
    fault = None
    if renderer.sessions.is_form_token(None, path, form.get("token", "")):
        result = await _check_passphrase(renderer, form)
        if result == "granted":
            return renderer.sessions.start()
        fault = await passphrase_fault(renderer, result, "sign-in")
    typed = {name: value for name, value in form.items() if name not in ("token", "passphrase")}
    return sign_in_page(renderer, request, path, fault, typed)


async def _check_passphrase(renderer: PageRenderer, form: Form) -> Decision | Literal["empty"]:
    channels = renderer.dependencies.guard.channels
    return await decide_with_passphrase(
        renderer, form.get("passphrase", ""), lambda passphrase: channels.check_passphrase(passphrase, "sign-in")
    )


def sign_in_route(renderer: PageRenderer) -> dict[tuple[str, str], Callable[[Request], Awaitable[Response]]]:
    """Return the route that needs no session: the sign-in form."""

    async def sign_in(request: Request) -> Response:
        form = read_form(await request.body())
        if form is None or not renderer.sessions.is_form_token(None, SIGN_IN, form.get("token", "")):
            return renderer.templates.message_response(403, "This form is not from this desk. Open the page again.")
        path = _own_path(form.get("path", ""))
        result = await _check_passphrase(renderer, form)
        if result != "granted":
            return sign_in_page(renderer, request, path, await passphrase_fault(renderer, result, "sign-in"))
        response = renderer.lead_to(path)
        response.headers["Set-Cookie"] = renderer.sessions.cookie_header(renderer.sessions.start())
        return response

    return {("POST", SIGN_IN): sign_in}


def sign_out_route(renderer: PageRenderer) -> Route:
    """Return the sign-out route."""

    async def sign_out(request: SessionRequest, form: Form) -> Response:
        renderer.sessions.end(request.session)
        response = renderer.lead_to("/")
        response.headers["Set-Cookie"] = renderer.sessions.cookie_header(None)
        return response

    return Route(re.compile(SIGN_OUT), post=sign_out)


def _own_path(path: str) -> str:
    own = rf"/(?:audit|freeze|locked|(?:kyc|decisions)/[0-9a-f]{{32}}|withdrawals/{WITHDRAWAL_ID}|identity/{NAME})?"
    return path if re.fullmatch(own, path) else "/"
