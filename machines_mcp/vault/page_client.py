"""The server's side of a card page: start the vault, handle its events, and return its reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import anyio
from anyio.abc import ByteSendStream, Process

from machines_mcp.vault.client import COMMAND, started
from machines_mcp.vault.events import MAX_EVENT_BYTES, Answer, answer_line, parse_event
from machines_mcp.vault.reply import MAX_REPLY_BYTES, VaultReply, failed, parse_reply
from machines_mcp.vault.request import VaultError, VaultRequest, request_line

# A page with more wrong passphrases than this is treated as locked, even if they were not counted.
MAX_WRONG = 20
TELL_SECONDS = 5.0


class Person(Protocol):
    """Callbacks for the events and questions of one page."""

    def listening(self, port: int) -> None:
        """The page accepts connections on this port of 127.0.0.1."""

    async def wrong(self) -> bool:
        """Count a wrong passphrase, and return whether that locks the passphrase."""

    async def right(self) -> bool:
        """Return whether the card may be fetched and shown, after the person approved. Called at most once."""

    async def told(self, reply: VaultReply) -> None:
        """Receive the outcome as soon as it is known. The process may run for 30 more seconds. Called once."""


async def show(request: VaultRequest, person: Person, *, command: Sequence[str] = COMMAND) -> VaultReply:
    """Show one card to a person on the vault's own page. Raises only on cancellation.

    The child has ended when this returns. The codes are those of `process.reveal`, and the page's own.
    No method of `person` may raise.
    """
    talk = _Talk(request, person)
    try:
        with anyio.move_on_after(request.deadline_seconds):
            try:
                async with started(command) as process:
                    await talk.follow(process)
            except OSError:
                await talk.end(failed("internal"))
            except VaultError:
                await talk.end(failed("vault.protocol"))
    finally:
        # Also if this was cancelled, so that `person` always receives an outcome.
        reply = await talk.end(failed("deadline"))
    return reply


class _Talk:
    """State of a conversation: listening, then any number of `wrong`, one `right`, the reply, and nothing more."""

    def __init__(self, request: VaultRequest, person: Person) -> None:
        self._request = request
        self._person = person
        self._listening = self._locked = self._went = False
        self._asked = False
        self._wrongs = 0
        self._reply: VaultReply | None = None

    async def end(self, reply: VaultReply) -> VaultReply:
        """Pass on the first reply and return it; later ones are ignored."""
        if self._reply is None:
            self._reply = reply
            with anyio.move_on_after(TELL_SECONDS, shield=True):
                await self._person.told(reply)
        return self._reply

    async def follow(self, process: Process) -> None:
        """Exchange messages until the child closes its end. Raises `VaultError` for an unexpected message."""
        if process.stdin is None or process.stdout is None:
            raise VaultError
        try:
            await process.stdin.send(request_line(self._request))
            async for line in _lines(process):
                await self._take(line, process.stdin)
        except (OSError, anyio.BrokenResourceError):
            raise VaultError from None
        if self._reply is None or await process.wait() != 0:
            raise VaultError

    async def _take(self, line: bytes, answers: ByteSendStream) -> None:
        if self._reply is not None:
            raise VaultError
        if line.startswith(b'{"event"'):
            await self._event(line, answers)
            return
        reply = parse_reply(line, "page")
        if reply.status == "shown" and (not self._went or reply.last4 != self._request.last4):
            raise VaultError
        await self.end(reply)

    async def _event(self, line: bytes, answers: ByteSendStream) -> None:
        event = parse_event(line)
        if (event.event == "listening") == self._listening or self._locked or self._asked:
            raise VaultError
        if event.port is not None:
            self._listening = True
            self._person.listening(event.port)
        elif event.event == "wrong":
            self._wrongs += 1
            self._locked = await self._person.wrong() or self._wrongs >= MAX_WRONG
            await answers.send(answer_line(Answer(locked=self._locked)))
        else:
            self._asked = True
            self._went = await self._person.right()
            await answers.send(answer_line(Answer(go=self._went)))


async def _lines(process: Process) -> AsyncIterator[bytes]:
    """Yield the child's lines. Raises `VaultError` if they are too long."""
    if process.stdout is None:
        raise VaultError
    rest, total = b"", 0
    async for chunk in process.stdout:
        total += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        if total > MAX_REPLY_BYTES + MAX_EVENT_BYTES * (MAX_WRONG + 2):
            raise VaultError
        for line in lines:
            yield line + b"\n"
