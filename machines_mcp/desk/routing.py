"""Route the desk's requests. Reading needs a session; a change also needs the form's token."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from machines_mcp.desk.dependencies import DeskDependencies
from machines_mcp.desk.sessions import Session, Sessions
from machines_mcp.desk.templates import Templates
from machines_mcp.permissions.passphrase_tries import format_alarm
from machines_mcp.storage.freeze import Freeze
from machines_mcp.web.asgi import Receive, Scope, Send
from machines_mcp.web.form import parse_form

MAX_FIELDS = 60

Form: TypeAlias = Mapping[str, str]
GetHandler: TypeAlias = Callable[["SessionRequest"], Awaitable[Response]]
PostHandler: TypeAlias = Callable[["SessionRequest", Form], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A request with a session. `path_parameter` is the variable part of the path.

    Every page shows the `freezes`, and the `alarms`, which are sentences.
    """

    http_request: Request
    session: Session
    path_parameter: str
    freezes: list[Freeze]
    alarms: list[str]


@dataclass(frozen=True, slots=True)
class Route:
    """A path and its handlers: `get` for GET, `post` for POST. A `passive` one is requested by an open page itself.

    `again` shows a form that came from an earlier session anew, with what was typed, and does nothing else.
    """

    pattern: re.Pattern[str]
    get: GetHandler | None = None
    post: PostHandler | None = None
    again: PostHandler | None = None
    passive: bool = False


@dataclass(frozen=True, slots=True)
class PageRenderer:
    """State shared by all pages."""

    dependencies: DeskDependencies
    sessions: Sessions
    templates: Templates

    async def open(self, http_request: Request, session: Session, path_parameter: str) -> SessionRequest:
        """Return the request with what is frozen now, and with the alarms."""
        guard = self.dependencies.guard
        freezes, alarms = await guard.freezes.all(), await guard.passphrase.tries.alarms()
        return SessionRequest(http_request, session, path_parameter, freezes, list(map(format_alarm, alarms)))

    def page(self, request: SessionRequest, name: str, status: int = 200, **context: object) -> Response:
        """Render a page for the request's session."""
        return self.templates.page(
            name,
            status,
            session=request.session,
            notice=request.session.take_notice(),
            freezes=request.freezes,
            alarms=request.alarms,
            token=self._token_for_path(request.session),
            **context,
        )

    def part(self, request: SessionRequest, name: str, **context: Any) -> Response:
        """Render a part of a page, for a script that updates the page."""
        return self.templates.page(name, token=self._token_for_path(request.session), **context)

    def redirect(self, request: SessionRequest, notice: str, path: str = "/") -> Response:
        """Redirect to another page, which shows `notice` once."""
        request.session.leave_notice(notice)
        return self.lead_to(path)

    def lead_to(self, path: str) -> Response:
        """Redirect to another page."""
        return RedirectResponse(self.dependencies.base_path + path, 303)

    def _token_for_path(self, session: Session | None) -> Callable[[str], str]:
        return lambda path: self.sessions.form_token(session, path)


class Router:
    """The desk's routes as an ASGI application. The request guard wraps it."""

    def __init__(
        self,
        renderer: PageRenderer,
        routes: list[Route],
        public_routes: Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]],
        sign_in: Callable[[Request, str], Response],
        sign_in_again: Callable[[Request, str, Form], Awaitable[Session | Response]],
    ) -> None:
        self._renderer = renderer
        self._routes = routes
        self._public_routes = public_routes
        self._sign_in = sign_in
        self._sign_in_again = sign_in_again

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path, method = str(request.scope["path"]), request.method
        public_routes = self._public_routes.get((method, path))
        if public_routes is not None:
            return await public_routes(request)
        for route in self._routes:
            found = route.pattern.fullmatch(path)
            if found is not None:
                return await self._dispatch(route, request, found.group(1) if found.groups() else "")
        if any(known == path for _, known in self._public_routes):
            return self._method_not_allowed("GET" if ("GET", path) in self._public_routes else "POST")
        return self._renderer.templates.message_response(404, "There is no page at this address.")

    async def _dispatch(self, route: Route, request: Request, name: str) -> Response:
        session = self._renderer.sessions.find(request.cookies, use=not route.passive)
        if request.method == "GET":
            return await self._get(route, request, session, name)
        if route.post is None:
            return self._method_not_allowed("GET")
        form = read_form(await request.body())
        path = str(request.scope["path"])
        is_form_token = self._renderer.sessions.is_form_token
        if form is not None and session is not None and is_form_token(session, path, form.get("token", "")):
            return await route.post(await self._renderer.open(request, session, name), form)
        if form is not None and route.again is not None:
            return await self._show_again(route.again, request, session, name, form)
        return self._renderer.templates.message_response(
            403, "This form is not from this session. Go back, reload the page and try again."
        )

    async def _show_again(
        self, show: PostHandler, request: Request, session: Session | None, name: str, form: Form
    ) -> Response:
        if session is not None:
            return await show(await self._renderer.open(request, session, name), form)
        found = await self._sign_in_again(request, str(request.scope["path"]), form)
        if isinstance(found, Response):
            return found
        response = await show(await self._renderer.open(request, found, name), form)
        response.headers["Set-Cookie"] = self._renderer.sessions.cookie_header(found)
        return response

    async def _get(self, route: Route, request: Request, session: Session | None, name: str) -> Response:
        if route.get is None:
            return self._method_not_allowed("POST")
        if session is not None:
            return await route.get(await self._renderer.open(request, session, name))
        session = self._renderer.sessions.shared_session()
        if session is None:
            return self._sign_in(request, str(request.scope["path"]))
        response = await route.get(await self._renderer.open(request, session, name))
        response.headers["Set-Cookie"] = self._renderer.sessions.cookie_header(session)
        return response

    def _method_not_allowed(self, allowed: str) -> Response:
        return self._renderer.templates.message_response(405, "Method not allowed.", Allow=allowed)


def read_form(body: bytes) -> dict[str, str] | None:
    """Return the fields of a form, or None if it is malformed or repeats a field."""
    fields = parse_form(body, MAX_FIELDS)
    if fields is None or any(len(values) > 1 for values in fields.values()):
        return None
    return {name: values[0] for name, values in fields.items()}
