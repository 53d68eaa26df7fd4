"""The vault's pipes while a page is open: send events, and read one answer to each question."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Literal

from machines_mcp.vault import hardening
from machines_mcp.vault.events import MAX_EVENT_BYTES, Event, EventAnswer, event_line, parse_answer
from machines_mcp.vault.reply import VaultReply, reply_line
from machines_mcp.vault.request import VaultError

if TYPE_CHECKING:
    import asyncio


class ParentPipe:
    """Writes to `output` and reads standard input. End of file or an unexpected line ends the process."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._pending_answer: asyncio.Future[EventAnswer] | None = None
        self.replied = False
        """Whether the final reply was sent."""

    def listen(self) -> None:
        """Start reading. Call this before the page exists, so that the parent's death is never missed."""
        threading.Thread(target=self._read_answers, daemon=True).start()

    def send_listening(self, port: int) -> None:
        """Send the page's port to the parent."""
        os.write(self._output, event_line(Event(event="listening", port=port)))

    async def may_check_passphrase(self) -> int:
        """Return 0 if a passphrase may be checked now, else the seconds until one may."""
        return await self._ask_wait("try")

    async def report_passphrase(self, *, right: bool) -> int:
        """Report the result of the check, and return the seconds until the next one."""
        return await self._ask_wait("right" if right else "wrong")

    async def may_show_card(self) -> bool:
        """Return whether the card may be fetched. Called at most once per vault."""
        answer = await self._ask("show")
        if answer.go is None:
            raise VaultError
        return answer.go

    def reply(self, reply: VaultReply) -> None:
        """Send the final reply. A second one is dropped."""
        if not self.replied:
            self.replied = True
            os.write(self._output, reply_line(reply))

    async def _ask_wait(self, event: Literal["try", "wrong", "right"]) -> int:
        answer = await self._ask(event)
        if answer.wait is None:
            raise VaultError
        return answer.wait

    async def _ask(self, event: Literal["try", "wrong", "right", "show"]) -> EventAnswer:
        import asyncio

        awaited: asyncio.Future[EventAnswer] = asyncio.get_running_loop().create_future()
        self._pending_answer = awaited
        os.write(self._output, event_line(Event(event=event)))
        # Not `self._pending_answer`: the thread may already have cleared it.
        return await awaited

    def _read_answers(self) -> None:
        line = b""
        while chunk := os.read(0, MAX_EVENT_BYTES):
            line += chunk
            if line.endswith(b"\n"):
                self._deliver(line)
                line = b""
            elif len(line) > MAX_EVENT_BYTES:
                break
        hardening.end()

    def _deliver(self, line: bytes) -> None:
        awaited, self._pending_answer = self._pending_answer, None
        try:
            answer = parse_answer(line)
        except VaultError:
            hardening.end()
        if awaited is None:
            hardening.end()
        awaited.get_loop().call_soon_threadsafe(awaited.set_result, answer)
