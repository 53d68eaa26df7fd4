"""The server's side of a card page: start the vault, handle its events, and return its reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import anyio
from anyio.abc import ByteSendStream, Process

from machines_mcp.vault.client import COMMAND, vault_process
from machines_mcp.vault.events import MAX_EVENT_BYTES, MAX_LOOKS, Event, EventAnswer, answer_line, parse_event
from machines_mcp.vault.reply import MAX_REPLY_BYTES, Denial, VaultReply, failed, parse_reply
from machines_mcp.vault.request import VaultError, VaultRequest, request_line

# The page asks at most once a second, and lives for at most eighteen minutes.
MAX_TRIES = 1200
CALLBACK_SECONDS = 5.0


class PageCallbacks(Protocol):
    """Callbacks for the events and questions of one page."""

    def on_listening(self, port: int) -> None:
        """The page accepts connections on this port of 127.0.0.1."""

    async def on_look(self) -> Denial | None:
        """Return why the approval can't be decided any more; None if it can. Not called after a decision."""

    async def on_try(self) -> int | None:
        """Count a try. Return 0 if a passphrase may be checked now, else the seconds until one may; None: it can't."""

    async def on_checked(self, *, right: bool) -> int | None:
        """Record the result of the last try, and return the seconds until the next one; None: can't record."""

    async def on_approved(self) -> Denial | None:
        """Record a yes. Return why the card may not be fetched and shown; None if it may. Called at most once."""

    async def on_refused(self) -> Denial | None:
        """Record a no. Return why it was not recorded; None if it was. Called at most once, and not after a yes."""

    async def on_reply(self, reply: VaultReply) -> None:
        """Receive the outcome as soon as it is known. The process may run for 30 more seconds. Called once."""


async def show_card(request: VaultRequest, callbacks: PageCallbacks, *, command: Sequence[str] = COMMAND) -> VaultReply:
    """Show one card to a person on the vault's own page. Raises only on cancellation.

    The child has ended when this returns. The codes are those of `client.reveal`, and the page's own.
    No method of `callbacks` may raise.
    """
    conversation = _Conversation(request, callbacks)
    try:
        with anyio.move_on_after(request.deadline_seconds):
            try:
                async with vault_process(command) as process:
                    await conversation.follow(process)
            except OSError:
                await conversation.end(failed("internal"))
            except VaultError:
                await conversation.end(failed("vault.protocol"))
    finally:
        # Also if this was cancelled, so that `callbacks` always receives an outcome.
        reply = await conversation.end(failed("deadline"))
    return reply


class _Conversation:
    """State of a conversation: listening, tries that are each `wrong` or `right`, one `show` or `refuse`, the reply."""

    def __init__(self, request: VaultRequest, callbacks: PageCallbacks) -> None:
        self._request = request
        self._callbacks = callbacks
        self._listening = self._allowed = self._decided = False
        self._checking = False
        self._proved = request.page is None or request.page.verifier is None
        self._tries = self._looks = 0
        self._reply: VaultReply | None = None

    async def end(self, reply: VaultReply) -> VaultReply:
        """Pass on the first reply and return it; later ones are ignored."""
        if self._reply is None:
            self._reply = reply
            with anyio.move_on_after(CALLBACK_SECONDS, shield=True):
                await self._callbacks.on_reply(reply)
        return self._reply

    async def follow(self, process: Process) -> None:
        """Exchange messages until the child closes its end. Raises `VaultError` for an unexpected message."""
        if process.stdin is None or process.stdout is None:
            raise VaultError
        try:
            await process.stdin.send(request_line(self._request))
            async for line in _lines(process):
                await self._handle_line(line, process.stdin)
        except (OSError, anyio.BrokenResourceError):
            raise VaultError from None
        if self._reply is None or await process.wait() != 0:
            raise VaultError

    async def _handle_line(self, line: bytes, answers: ByteSendStream) -> None:
        if self._reply is not None:
            raise VaultError
        if line.startswith(b'{"event"'):
            await self._handle_event(line, answers)
            return
        reply = parse_reply(line, "page")
        if reply.status == "shown" and (not self._allowed or reply.last4 != self._request.last4):
            raise VaultError
        await self.end(reply)

    async def _handle_event(self, line: bytes, answers: ByteSendStream) -> None:
        event = parse_event(line)
        if (event.event == "listening") == self._listening or self._decided:
            raise VaultError
        if event.port is not None:
            self._listening = True
            self._callbacks.on_listening(event.port)
            return
        await answers.send(answer_line(await self._answer(event)))

    async def _answer(self, event: Event) -> EventAnswer:
        if event.event == "look":
            self._looks += 1
            if self._looks > MAX_LOOKS:
                raise VaultError
            return _leave(await self._callbacks.on_look())
        if event.event == "try":
            self._tries += 1
            if self._checking or self._tries > MAX_TRIES:
                raise VaultError
            wait = await self._callbacks.on_try()
            self._checking = wait == 0
            return _wait(wait)
        if self._checking != (event.event in ("wrong", "right")):
            raise VaultError
        if self._checking:
            self._checking, self._proved = False, event.event == "right"
            return _wait(await self._callbacks.on_checked(right=self._proved))
        return await self._decide(yes=event.event == "show")

    async def _decide(self, *, yes: bool) -> EventAnswer:
        if not self._proved:
            raise VaultError
        self._decided = True
        denied = await (self._callbacks.on_approved() if yes else self._callbacks.on_refused())
        self._allowed = yes and denied is None
        return _leave(denied)


def _leave(denied: Denial | None) -> EventAnswer:
    return EventAnswer(go=True) if denied is None else EventAnswer(denied=denied)


def _wait(seconds: int | None) -> EventAnswer:
    return EventAnswer(denied="page.unavailable") if seconds is None else EventAnswer(wait=seconds)


async def _lines(process: Process) -> AsyncIterator[bytes]:
    """Yield the child's lines. Raises `VaultError` if they are too long."""
    if process.stdout is None:
        raise VaultError
    rest, total = b"", 0
    async for chunk in process.stdout:
        total += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        if total > MAX_REPLY_BYTES + MAX_EVENT_BYTES * (2 * MAX_TRIES + MAX_LOOKS + 2):
            raise VaultError
        for line in lines:
            yield line + b"\n"
