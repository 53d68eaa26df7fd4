"""The card page as an ASGI application: reject foreign requests, and take one decision."""

from __future__ import annotations

import secrets
from math import ceil

import anyio
import anyio.to_thread

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.card_secrets import CardSecretsError, fetch_card
from machines_mcp.vault.card_time import MORE_SECONDS, CardTime
from machines_mcp.vault.events import MAX_LOOKS
from machines_mcp.vault.page_view import PageResponse, PageView
from machines_mcp.vault.parent_pipe import ParentPipe
from machines_mcp.vault.reply import Code, Denial, VaultReply, failed
from machines_mcp.vault.request import VaultRequest
from machines_mcp.web.asgi import Receive, Scope, Send, header_values
from machines_mcp.web.browser_security import SameOrigin, constant_time_equal, has_origin, is_navigation
from machines_mcp.web.form import FORM_TYPE, parse_form, read_body

MAX_BODY_BYTES = 4 * 1024
MAX_FIELDS = 3
FETCH_SECONDS = 20.0
# The question may be shown without it: a yes to it is refused just the same.
LOOK_SECONDS = 2.0
# Reserved for reporting to the person that the fetch took too long.
REPORT_SECONDS = 4.0


class CardPage:
    """One page for one card. `finished` is set when `reply` has the outcome and the last response was sent."""

    def __init__(self, request: VaultRequest, pipe: ParentPipe, port: int) -> None:
        if request.page is None:
            raise ValueError("a page needs its order")
        self._request = request
        self._options = request.page
        self._pipe = pipe
        self._same_origin = SameOrigin(port)
        self._token = secrets.token_urlsafe(32)
        self._view = PageView(request, self._token)
        self._decision_lock = anyio.Lock()
        self._next_try_at = 0.0
        self._looks = 0
        self._fetching = False
        self._closes_at = anyio.current_time() + request.deadline_seconds
        self.finished = anyio.Event()
        self.reply = failed("page.unused")
        self.time: CardTime | None = None
        """The time of the card; None until it is shown."""
        self._final_response: PageResponse | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return
        content = self._rejection(scope) or await self._respond(scope, receive)
        await content.send(send)
        if self._final_response is not None:
            self.finished.set()

    def _rejection(self, scope: Scope) -> PageResponse | None:
        """Reject a request by its host, path, method or site, before its body is read."""
        if not self._same_origin.has_own_host(scope):
            return self._view.text(421, "This page has a different address.")
        home = f"/{self._options.handle}"
        methods = {home: "GET", f"{home}/end": "GET", f"{home}/decide": "POST", f"{home}/more": "POST"}
        allowed = [method for known, method in methods.items() if constant_time_equal(scope["path"], known)]
        if not allowed:
            return self._view.text(404, "There is no page at this address.")
        if scope["method"] not in allowed:
            return self._view.text(405, "Method not allowed.")
        if scope["method"] == "POST" and not self._is_own_form(scope):
            return self._view.text(403, "Only this page can submit its form.")
        if scope["method"] == "GET" and (has_origin(scope) or not is_navigation(scope)):
            return self._view.text(403, "Open this page directly. Other pages can't embed or load it.")
        return None

    def _is_own_form(self, scope: Scope) -> bool:
        return self._same_origin.is_own_submission(scope) and header_values(scope, b"content-type") == [FORM_TYPE]

    async def _respond(self, scope: Scope, receive: Receive) -> PageResponse:
        action = scope["path"].rpartition("/")[2]
        if scope["method"] == "GET":
            if action == "end" and self.time is not None:
                await self.time.passed()
            return await self._current()
        form = await _read_form(receive)
        token = self._token
        if action == "more":
            token = "" if self.time is None else self.time.token
        if form is None or not token or not constant_time_equal(form.get("token", ""), token):
            return self._view.text(403, "This form is not from this page. Open the page again.")
        if action == "more" and self.time is not None:
            return await self._extend(self.time, waits="wait" in form)
        # One at a time: if two submissions arrive together, only the first shows the card.
        async with self._decision_lock:
            return self._final_response or await self._decide(form, receive)

    async def _extend(self, time: CardTime, *, waits: bool) -> PageResponse:
        extended = time.extend()
        if waits:
            # Without scripts. The browser shows the card until this response arrives.
            await time.passed()
            return await self._current()
        if extended:
            return self._view.text(200, f"{MORE_SECONDS} seconds were added.")
        return self._view.text(410, "No time was added. It can be added once, while the card is shown.")

    async def _current(self) -> PageResponse:
        """Return the question if it still waits for an answer, else what became of it."""
        if self._final_response is None and not self._decision_lock.locked():
            denied = await self._look()
            if denied is not None and self._final_response is None:
                # A submission that came meanwhile gets the same denial, and ends the page.
                return self._view.final(denied) if self._decision_lock.locked() else self._end(denied)
        return self._final_response or (self._view.fetching() if self._fetching else self._view.question())

    async def _look(self) -> Denial | None:
        self._looks += 1
        if self._looks <= MAX_LOOKS:
            with anyio.move_on_after(LOOK_SECONDS):
                return await self._pipe.look()
        return None

    async def _decide(self, form: dict[str, str], receive: Receive) -> PageResponse:
        fault = await self._passphrase_fault(form.get("passphrase", ""))
        if fault is not None:
            return self._view.question(fault)
        if form.get("decision") != "show":
            return self._end(await self._pipe.refuse() or "page.refused")
        if await _is_gone(receive):
            # The browser has disconnected, so nobody would see the card.
            return self._view.question()
        self._fetching = True
        denied = await self._pipe.show()
        if denied is not None:
            return self._end(denied)
        # The approval is used now, so `page.unused` no longer applies.
        self.reply = failed("deadline")
        return await self._show(receive)

    async def _passphrase_fault(self, typed: str) -> str | None:
        """Check the passphrase, if one is needed. Return a sentence for the person if it is not accepted."""
        verifier = self._options.verifier
        if verifier is None:
            return None
        if not typed:
            return "Type your passphrase first."
        wait = ceil(self._next_try_at - anyio.current_time())
        if wait <= 0:
            told = await self._pipe.may_check_passphrase()
            if told is None:
                return "Nothing was checked, because the server can't use its state folder. Run machines-mcp doctor."
            wait = self._delay(told)
        if wait > 0:
            return f"Nothing was checked, because wrong passphrases were typed before. {_try_again(wait)}"
        right = await anyio.to_thread.run_sync(verifier.matches, Secret(typed))
        wait = self._delay(await self._pipe.report_passphrase(right=right) or 0)
        return None if right else f"Wrong passphrase. {_try_again(wait)}".strip()

    def _delay(self, wait: int) -> int:
        # Remembered, so that tries in the meantime do not reach the server.
        self._next_try_at = anyio.current_time() + wait
        return wait

    async def _show(self, receive: Receive) -> PageResponse:
        try:
            left = self._closes_at - anyio.current_time() - REPORT_SECONDS
            with anyio.fail_after(max(0.0, min(FETCH_SECONDS, left))):
                async with fetch_card(self._request) as opened:
                    if await _is_gone(receive):
                        return self._end("page.left")
                    time = CardTime()
                    content = self._view.card(opened, time.token)
                    self.time = time
                    self._final_response = self._view.final("shown")
                    self.reply = VaultReply(status="shown", code="shown", sink="page", **opened.facts)
                    return content
        except TimeoutError:
            return self._end("partner.unavailable")
        except CardSecretsError as error:
            return self._end(error.code)
        except Exception:
            return self._end("internal")

    def _end(self, code: Code) -> PageResponse:
        self.reply = failed(code)
        self._final_response = self._view.final(code)
        return self._final_response


def _try_again(wait: int) -> str:
    return f"Try again in {wait} second{'' if wait == 1 else 's'}." if wait > 0 else ""


async def _read_form(receive: Receive) -> dict[str, str] | None:
    """Return the fields of a form, or None if it is too long, too slow or malformed. Repeated fields are dropped."""
    body = await read_body(receive, MAX_BODY_BYTES)
    fields = None if body is None else parse_form(body, MAX_FIELDS, errors="replace")
    if fields is None:
        return None
    return {name: values[0] for name, values in fields.items() if len(values) == 1}


async def _is_gone(receive: Receive) -> bool:
    """Return whether the browser disconnected after it sent the form."""
    with anyio.move_on_after(0):
        return bool((await receive())["type"] == "http.disconnect")
    return False
