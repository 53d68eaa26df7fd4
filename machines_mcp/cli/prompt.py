"""What a person types at a terminal: the passphrase, unseen; for scripts and tests, a line of stdin instead."""

from __future__ import annotations

import os
import sys
import time

from machines_mcp.redaction.secret import Secret

LINE_SECONDS = 60.0
MOST_BYTES = 4096


class NothingTyped(Exception):
    """There was no line to read; the message is one sentence that says what to do."""


class Lines:
    """Asks for one line after another. Never an argument nor a variable: those show in a list of processes."""

    def __init__(self) -> None:
        self._typed = sys.stdin is not None and sys.stdin.isatty()
        self._rest = b""
        self._until = time.monotonic() + LINE_SECONDS

    @property
    def at_terminal(self) -> bool:
        """Whether somebody types: a typing error should be caught by asking twice."""
        return self._typed

    def ask(self, what: str) -> Secret:
        """What is typed after `what`, unseen; where stdin is no terminal, its next line, within a minute.

        Raises:
            NothingTyped: The line is empty or did not come.
        """
        if self._typed:
            import getpass

            line = getpass.getpass(f"{what}: ")
        else:
            line = self._next_line().decode("utf-8", "surrogateescape")
        if not line:
            raise NothingTyped(f"{what}: nothing was typed; type it when asked, or give it as a line of stdin.")
        return Secret(line)

    def answer(self, question: str) -> str:
        """What is typed after the question, seen; empty at the end of input. At a terminal only."""
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
        """Some bytes of stdin; none at its end, and after a minute."""
        if sys.stdin is None:
            return b""
        try:
            descriptor = sys.stdin.fileno()
        except OSError:  # put in its place by whoever runs us in their own process
            return sys.stdin.buffer.readline()
        if os.name == "posix":
            import select

            left = max(0.0, self._until - time.monotonic())
            if not select.select([descriptor], [], [], left)[0]:
                return b""
        return os.read(descriptor, MOST_BYTES)
