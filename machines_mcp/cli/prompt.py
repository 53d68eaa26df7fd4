"""Read what a person types at a terminal, or lines of stdin for scripts and tests."""

from __future__ import annotations

import os
import sys
import time

from machines_mcp.redaction.secret import Secret

LINE_SECONDS = 60.0
MOST_BYTES = 4096


class NothingTyped(Exception):
    """There was no line to read; the message says what to do."""


class Lines:
    """Reads secrets line by line. Arguments and variables would show them in process lists."""

    def __init__(self) -> None:
        self._typed = sys.stdin is not None and sys.stdin.isatty()
        self._rest = b""
        self._until = time.monotonic() + LINE_SECONDS

    @property
    def at_terminal(self) -> bool:
        """Whether a person is typing, so that new secrets should be asked for twice."""
        return self._typed

    def ask(self, what: str) -> Secret:
        """Prompt for `what` without echo; if stdin is not a terminal, read its next line, within a minute.

        Raises:
            NothingTyped: The line is empty or did not arrive.
        """
        if self._typed:
            import getpass

            line = getpass.getpass(f"{what}: ")
        else:
            line = self._next_line().decode("utf-8", "surrogateescape")
        if not line:
            raise NothingTyped(f"{what}: no input. Type it when asked, or pass it as a line of stdin.")
        return Secret(line)

    def answer(self, question: str) -> str:
        """Ask a question and read the reply with echo; empty at the end of input. Needs a terminal."""
        import click

        click.echo(f"{question}: ", nl=False)
        return sys.stdin.readline().strip()

    def _next_line(self) -> bytes:
        while b"\n" not in self._rest and len(self._rest) <= MOST_BYTES:
            piece = self._read()
            if not piece:
                break
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.removesuffix(b"\r")[:MOST_BYTES]

    def _read(self) -> bytes:
        """Read some bytes of stdin; empty at its end or after a minute."""
        if sys.stdin is None:
            return b""
        try:
            descriptor = sys.stdin.fileno()
        except OSError:  # replaced, for example by a test in the same process
            return sys.stdin.buffer.readline()
        if os.name == "posix":
            import select

            left = max(0.0, self._until - time.monotonic())
            if not select.select([descriptor], [], [], left)[0]:
                return b""
        return os.read(descriptor, MOST_BYTES)
