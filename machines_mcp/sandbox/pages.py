"""The hosted pages: the identity check, whose buttons set the KYC status, and the agreements' texts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from machines_mcp.sandbox import agreements, kyc
from machines_mcp.sandbox.body import read_body
from machines_mcp.sandbox.html_page import HEADERS, fill, page, template
from machines_mcp.sandbox.state import State
from machines_mcp.sandbox.user import User

Endpoint = Callable[[Request], Awaitable[Response]]

_VERIFY, _CHOICE, _MESSAGE = (template(name) for name in ("verify", "choice", "message"))


@dataclass(frozen=True)
class _Choice:
    """A button of the identity check; `value` is the KYC status it sets."""

    value: str
    label: str
    about: str
    tone: str = ""


_CHOICES: Final = (
    _Choice("approved", "Approve", "The user can go on to the agreements.", "primary"),
    _Choice("needs_information", "Ask for more", "The user is sent back here to provide something again."),
    _Choice("manual_review", "Manual review", "A reviewer has to look at it. It waits until you decide."),
    _Choice("pending", "Keep checking", "The checks continue. The application waits until you decide."),
    _Choice("needs_verification", "Verify again", "The user has to repeat this check."),
    _Choice("not_submitted", "Start over", "The application is discarded. The user has to submit the form again."),
    _Choice("denied", "Deny", "The user can't get a card.", "bad"),
    _Choice("locked", "Lock account", "The user can't continue. Only support could unlock the account.", "bad"),
    _Choice("canceled", "Cancel application", "The application counts as withdrawn.", "bad"),
)
# Heading, lead and color by status.
_SCREENS: Final = {
    "approved": ("Identity verified", "You can close this window and go back.", "good"),
    "not_submitted": ("No application", "The form has not been submitted. You can decide below anyway.", "wait"),
    "needs_verification": ("Verify your identity", "Choose the result of the simulated check below.", "wait"),
    "needs_information": ("Something is missing", "Choose the result of the repeated check below.", "wait"),
    "manual_review": ("Under manual review", "You don't have to do anything, but you can decide below.", "wait"),
    "pending": ("The checks are running", "You don't have to do anything, but you can decide below.", "wait"),
    "denied": ("Not verified", "The check failed. You can close this window.", "bad"),
    "locked": ("Account locked", "You can close this window.", "bad"),
    "canceled": ("Application canceled", "You can close this window.", "bad"),
}


def routes(state: State) -> list[tuple[str, str, Endpoint]]:
    """Return method, path and endpoint of each page."""

    async def verify(request: Request) -> Response:
        user = _user_of_page(state, request.path_params["page"])
        return _missing() if user is None else page("Identity verification", _verify(user))

    async def decide(request: Request) -> Response:
        form = parse_qs((await read_body(request)).decode("utf-8", "replace"))
        decision = form.get("decision", [""])[0]
        user = _user_of_page(state, request.path_params["page"])
        if user is None:
            return _missing()
        if decision not in {choice.value for choice in _CHOICES}:
            return _message("Identity verification", "Nothing was decided", "Go back and choose a decision.", 400)
        with state.transaction():
            kyc.decide(state, user.user_id, decision)
        return RedirectResponse(request.url.path, 303, HEADERS)

    async def legal(request: Request) -> Response:
        for name, title, text in agreements.AGREEMENTS:
            if name == request.path_params["agreement"]:
                return _message("Agreement", title, text)
        return _missing()

    return [
        ("GET", kyc.PAGE_PATH + "/{page}", verify),
        ("POST", kyc.PAGE_PATH + "/{page}", decide),
        ("GET", agreements.PAGE_PATH + "/{agreement}", legal),
    ]


def _user_of_page(state: State, name: str) -> User | None:
    row = state.row("SELECT * FROM users WHERE kyc_page = ?", name)
    return None if row is None else User.of(row)


def _verify(user: User) -> str:
    heading, lead, tone = _SCREENS[user.kyc_status]
    if user.kyc_reason is not None:
        lead = f"{lead} Reason: {user.kyc_reason}."
    choices = [fill(_CHOICE, vars(choice)) for choice in _CHOICES if choice.value != user.kyc_status]
    words = {"heading": heading, "lead": lead, "tone": tone, "status": user.kyc_status.replace("_", " ")}
    return fill(_VERIFY, words, choices="\n".join(choices))


def _message(eyebrow: str, heading: str, lead: str, status: int = 200) -> Response:
    return page(eyebrow, fill(_MESSAGE, {"eyebrow": eyebrow, "heading": heading, "lead": lead}), status)


def _missing() -> Response:
    return _message("Sandbox", "Page not found", "The address may be from an earlier run of the sandbox.", 404)
