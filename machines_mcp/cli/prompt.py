"""Read what a person types at a terminal, or lines of stdin for scripts and tests."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from machines_mcp.cli.screen import say
from machines_mcp.redaction.secret import Secret

LINE_SECONDS = 60.0
MAX_LINE_BYTES = 4096


class NoInput(Exception):
    """There was no line to read; the message says what to do."""


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a read at once. An event loop only cancels its task, which waits until the read returns."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class TerminalInput:
    """Reads secrets line by line. Arguments and variables would show them in process lists."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._buffer = b""
        self._deadline = time.monotonic() + LINE_SECONDS

    @property
    def at_terminal(self) -> bool:
        """Whether a person is typing, so that new secrets should be asked for twice."""
        return self._is_terminal

    def read_secret(self, what: str) -> Secret:
        """Prompt for `what` without echo; if stdin is not a terminal, read its next line, within a minute.

        Raises:
            NoInput: The line is empty or did not arrive.
        """
        if self._is_terminal:
            import getpass

            with _interruptible():
                line = getpass.getpass(f"{what}: ")
        else:
            line = self._next_line().decode("utf-8", "surrogateescape")
        if not line:
            raise NoInput(f"{what}: no input. Type it when asked, or pass it as a line of stdin.")
        return Secret(line)

    def read_answer(self, question: str) -> str:
        """Ask a question and read the reply with echo; empty at the end of input. Needs a terminal."""
        say(f"{question}:", nl=False)
        say(" ", nl=False)
        with _interruptible():
            return sys.stdin.readline().strip()

    def _next_line(self) -> bytes:
        while b"\n" not in self._buffer and len(self._buffer) <= MAX_LINE_BYTES:
            piece = self._read()
            if not piece:
                break
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.removesuffix(b"\r")[:MAX_LINE_BYTES]

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

            left = max(0.0, self._deadline - time.monotonic())
            if not select.select([descriptor], [], [], left)[0]:
                return b""
        return os.read(descriptor, MAX_LINE_BYTES)
