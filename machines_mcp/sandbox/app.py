"""The HTTP application: the API under /partner/v1, the control under /control, and the hosted pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from machines_mcp.sandbox import chain_endpoint, control_page, pages
from machines_mcp.sandbox.body import read_body
from machines_mcp.sandbox.call import Incoming
from machines_mcp.sandbox.control import CONTROLS
from machines_mcp.sandbox.envelope import Refusal, Success, not_found, wire
from machines_mcp.sandbox.fault_responses import broken
from machines_mcp.sandbox.fields import parse_body, parse_query
from machines_mcp.sandbox.html_page import HEADERS
from machines_mcp.sandbox.operations import OPERATIONS
from machines_mcp.sandbox.preconditions import Operation, admit
from machines_mcp.sandbox.state import State
from machines_mcp.sandbox.summary import summary

API_PATH: Final = "/partner/v1"
CONTROL_PATH: Final = "/control"
# Wallets are browser extensions, which send from pages of their own. A web page can't have such an origin.
_EXTENSIONS: Final = ("chrome-extension://", "moz-extension://", "safari-web-extension://")

Endpoint = Callable[[Request], Awaitable[Response]]


def build(state: State, origin: str) -> Starlette:
    """Build the application that serves `state` at `origin`, such as http://127.0.0.1:8080."""
    endpoints = [
        (API_PATH + operation.path, operation.method, _operation(operation, state, origin)) for operation in OPERATIONS
    ]
    for method, path, handle in CONTROLS:
        endpoints.append((CONTROL_PATH + path, method, _guarded(_control(handle, state), origin)))
    for method, path, endpoint in pages.routes(state):
        endpoints.append((path, method, _guarded(_by_hand(endpoint) if method == "POST" else endpoint, origin)))
    for path, endpoint in chain_endpoint.routes(state):
        endpoints.append((path, "POST", _guarded(endpoint, origin, _EXTENSIONS)))
    paths = dict.fromkeys(path for path, _, _ in endpoints)
    routes = [Route(path, _Methods({how: answer for at, how, answer in endpoints if at == path})) for path in paths]
    application = Starlette(routes=routes, exception_handlers={HTTPException: _no_route, Refusal: _refused})
    application.router.redirect_slashes = False
    return application


class _Methods:
    """Dispatches one path by method. It is not a function, so its route accepts every method: a path that also matches
    a later route (`/deposits/range`, `/deposits/{depositId}`) belongs to the first one.
    """

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._endpoints = endpoints | ({"HEAD": endpoints["GET"]} if "GET" in endpoints else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            raise HTTPException(405, headers={"Allow": ", ".join(self._endpoints)})
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)


def _operation(operation: Operation, state: State, origin: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        incoming = Incoming(request.path_params, request.query_params, request.headers, await read_body(request))

        async def answer() -> Response:
            with state.transaction():
                return _answered(request, operation.handle(admit(operation, state, incoming, origin)))

        state.rate.count(state.clock.now())
        path = str(request.scope["path"]).removeprefix(API_PATH)
        fault = state.faults.take(request.method, path, operation.path)
        return await answer() if fault is None else await broken(fault, answer)

    return endpoint


def _control(handle: Callable[..., Success], state: State) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if request.headers.get("content-type", "").startswith(control_page.FORM):
            return await _pressed(request, handle, state)
        if request.method == "GET" and handle is summary and "text/html" in request.headers.get("accept", ""):
            return control_page.show(state, query=parse_query(request.query_params))
        raw = await read_body(request)
        fields = parse_body(raw) if request.method == "POST" else parse_query(request.query_params)
        with state.transaction():
            answer = handle(state, fields)
        return _answered(request, answer)

    return endpoint


async def _pressed(request: Request, handle: Callable[..., Success], state: State) -> Response:
    """Handle a form of the control page. Only that page may send it; a refusal is shown on the page."""
    _check_page(request)
    try:
        fields = control_page.read_form(await read_body(request))
        with state.transaction():
            done = handle(state, fields)
    except Refusal as refusal:
        at = f": {refusal.at}" if refusal.at else ""
        return control_page.show(state, f"Nothing changed{at}: {refusal.message}", refusal.status)
    return RedirectResponse(f"{CONTROL_PATH}?{urlencode({'done': done.summary})}", 303, HEADERS)


def _by_hand(endpoint: Endpoint) -> Endpoint:
    """Accept only forms that a page sent."""

    async def pressed(request: Request) -> Response:
        _check_page(request)
        return await endpoint(request)

    return pressed


def _check_page(request: Request) -> None:
    """Require the Origin header that browsers add to every form; `_guarded` checks its value.

    Raises:
        Refusal: 403, if the header is missing.
    """
    if "origin" not in request.headers:
        raise Refusal(403, "forbidden", "this form must be sent from its own page")


def _guarded(endpoint: Endpoint, origin: str, also: tuple[str, ...] = ()) -> Endpoint:
    """Reject web pages of other origins than this one and those that begin with one of `also`.

    They can reach loopback, but can't choose these headers.
    """
    hosts = {origin.removeprefix("http://"), origin.removeprefix("http://").replace("127.0.0.1", "localhost")}

    async def guarded(request: Request) -> Response:
        sent_from = request.headers.get("origin")
        if request.headers.get("host") not in hosts or (
            sent_from is not None and sent_from.removeprefix("http://") not in hosts and not sent_from.startswith(also)
        ):
            raise Refusal(403, "forbidden", "requests from other origins are not allowed")
        return await endpoint(request)

    return guarded


def _answered(request: Request, answer: Success) -> Response:
    return Response(wire(answer.envelope(), request.headers), media_type="application/json")


async def _refused(request: Request, exc: Exception) -> Response:
    refusal = exc if isinstance(exc, Refusal) else not_found()
    body = wire(refusal.envelope(), request.headers)
    return Response(body, refusal.status, refusal.headers, media_type="application/json")


async def _no_route(request: Request, exc: Exception) -> Response:
    """Return 404 for an unknown path, or 405 for a method it does not have, in the envelope."""
    headers = dict(getattr(exc, "headers", None) or {})
    if getattr(exc, "status_code", 404) == 405:
        return await _refused(request, Refusal(405, "method_not_allowed", "method not allowed", headers=headers))
    return await _refused(request, not_found())
