"""The vault's pipes while a page is open: send events, and read one answer to each question, in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Literal

from machines_mcp.vault import hardening
from machines_mcp.vault.events import MAX_EVENT_BYTES, Event, EventAnswer, event_line, parse_answer
from machines_mcp.vault.reply import Denial, VaultReply, reply_line
from machines_mcp.vault.request import VaultError

if TYPE_CHECKING:
    import asyncio


class ParentPipe:
    """Writes to `output` and reads standard input. End of file or an unexpected line ends the process."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._pending_answers: deque[asyncio.Future[EventAnswer]] = deque()
        self.replied = False
        """Whether the final reply was sent."""

    def listen(self) -> None:
        """Start reading. Call this before the page exists, so that the parent's death is never missed."""
        threading.Thread(target=self._read_answers, daemon=True).start()

    def send_listening(self, port: int) -> None:
        """Send the page's port to the parent."""
        os.write(self._output, event_line(Event(event="listening", port=port)))

    async def look(self) -> Denial | None:
        """Return why the approval can't be decided any more; None if it can. At most `MAX_LOOKS` times."""
        return await self._ask_leave("look")

    async def may_check_passphrase(self) -> int | None:
        """Return 0 if a passphrase may be checked now, else the seconds until one may; None: tries can't be counted."""
        return (await self._ask("try")).wait

    async def report_passphrase(self, *, right: bool) -> int | None:
        """Report the result of the check, and return the seconds until the next one; None: it can't be recorded."""
        return (await self._ask("right" if right else "wrong")).wait

    async def show(self) -> Denial | None:
        """Have the approval granted and used. Return why the card may not be fetched; None if it may.

        Of this and `refuse`, one is called, once.
        """
        return await self._ask_leave("show")

    async def refuse(self) -> Denial | None:
        """Have the refusal stored. Return why it was not; None if it was."""
        return await self._ask_leave("refuse")

    def reply(self, reply: VaultReply) -> None:
        """Send the final reply. A second one is dropped."""
        if not self.replied:
            self.replied = True
            os.write(self._output, reply_line(reply))

    async def _ask_leave(self, event: Literal["look", "show", "refuse"]) -> Denial | None:
        answer = await self._ask(event)
        if answer.go is None and answer.denied is None:
            raise VaultError
        return answer.denied

    async def _ask(self, event: Literal["look", "try", "wrong", "right", "show", "refuse"]) -> EventAnswer:
        import asyncio

        awaited: asyncio.Future[EventAnswer] = asyncio.get_running_loop().create_future()
        self._pending_answers.append(awaited)
        os.write(self._output, event_line(Event(event=event)))
        return await awaited

    def _read_answers(self) -> None:
        rest = b""
        while chunk := os.read(0, MAX_EVENT_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._deliver(line + b"\n")
            if len(rest) > MAX_EVENT_BYTES:
                break
        hardening.end()

    def _deliver(self, line: bytes) -> None:
        try:
            awaited, answer = self._pending_answers.popleft(), parse_answer(line)
        except (IndexError, VaultError):
            hardening.end()
        awaited.get_loop().call_soon_threadsafe(_set_answer, awaited, answer)


def _set_answer(awaited: asyncio.Future[EventAnswer], answer: EventAnswer) -> None:
    # The one who asked may have given up.
    if not awaited.done():
        awaited.set_result(answer)
