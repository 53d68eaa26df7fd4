"""Route the desk's requests. Reading needs a session; a change also needs the form's token."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from machines_mcp.desk.dependencies import DeskDependencies
from machines_mcp.desk.sessions import Session, Sessions
from machines_mcp.desk.templates import Templates
from machines_mcp.web.asgi import Receive, Scope, Send
from machines_mcp.web.form import parse_form

MAX_FIELDS = 60

Form: TypeAlias = Mapping[str, str]
Look: TypeAlias = Callable[["Visit"], Awaitable[Response]]
Change: TypeAlias = Callable[["Visit", Form], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with a session. `name` is the variable part of the path."""

    request: Request
    session: Session
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """A path and its handlers: `look` for GET, `change` for POST."""

    pattern: re.Pattern[str]
    look: Look | None = None
    change: Change | None = None


@dataclass(slots=True)
class PageRenderer:
    """State shared by all pages."""

    dependencies: DeskDependencies
    sessions: Sessions
    templates: Templates
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Held during a passphrase check: otherwise concurrent guesses are all checked before the first is counted."""

    def page(self, visit: Visit, name: str, status: int = 200, **context: object) -> Response:
        """Render a page for the visit's session."""
        return self.templates.page(
            name,
            status,
            session=visit.session,
            said=visit.session.take_said(),
            token=self._tokens(visit.session),
            **context,
        )

    def back(self, visit: Visit, said: str, path: str = "/") -> Response:
        """Redirect to another page, which shows `said` once."""
        visit.session.said = said
        return RedirectResponse(path, 303)

    def _tokens(self, session: Session | None) -> Callable[[str], str]:
        return lambda path: self.sessions.form_token(session, path)


class Pages:
    """The desk's routes as an ASGI application. The request guard wraps it."""

    def __init__(
        self,
        front: PageRenderer,
        places: list[Place],
        free: Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]],
        sign_in: Callable[[Request, str], Response],
    ) -> None:
        self._front = front
        self._places = places
        self._free = free
        self._sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path, method = str(request.scope["path"]), request.method
        free = self._free.get((method, path))
        if free is not None:
            return await free(request)
        for place in self._places:
            found = place.pattern.fullmatch(path)
            if found is not None:
                return await self._at(place, request, found.group(1) if found.groups() else "")
        if any(known == path for _, known in self._free):
            return self._closed("GET" if ("GET", path) in self._free else "POST")
        return self._front.templates.plain(404, "There is no page at this address.")

    async def _at(self, place: Place, request: Request, name: str) -> Response:
        session = self._front.sessions.find(request.cookies)
        if request.method == "GET":
            return await self._look(place, request, session, name)
        if place.change is None:
            return self._closed("GET")
        form = read_form(await request.body())
        path = str(request.scope["path"])
        if (
            session is None
            or form is None
            or not self._front.sessions.is_form_token(session, path, form.get("token", ""))
        ):
            return self._front.templates.plain(
                403, "This form is not from this session. Go back, reload the page and try again."
            )
        return await place.change(Visit(request, session, name), form)

    async def _look(self, place: Place, request: Request, session: Session | None, name: str) -> Response:
        if place.look is None:
            return self._closed("POST")
        if session is not None:
            return await place.look(Visit(request, session, name))
        session = self._front.sessions.visitor()
        if session is None:
            return self._sign_in(request, str(request.scope["path"]))
        response = await place.look(Visit(request, session, name))
        response.headers["Set-Cookie"] = self._front.sessions.cookie_header(session)
        return response

    def _closed(self, allowed: str) -> Response:
        return self._front.templates.plain(405, "Method not allowed.", Allow=allowed)


def read_form(body: bytes) -> dict[str, str] | None:
    """Return the fields of a form, or None if it is malformed or repeats a field."""
    fields = parse_form(body, MAX_FIELDS)
    if fields is None or any(len(values) > 1 for values in fields.values()):
        return None
    return {name: values[0] for name, values in fields.items()}
