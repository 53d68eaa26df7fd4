"""Logging to stderr, where clients keep it: lines without values, tracebacks without text."""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
from types import TracebackType

# At DEBUG these print headers, bodies or whole frames.
_QUIET = ("httpx", "httpcore", "hpack", "asyncio", "mcp", "uvicorn", "opentelemetry")


class _NoText(logging.Formatter):
    """One line per record; of an exception only the class, since its text can hold what it was working on.

    For the same reason a library's record shows only where it was made.
    """

    def format(self, record: logging.LogRecord) -> str:
        failure = record.exc_info[0] if record.exc_info else None
        suffix = f" [{failure.__name__}]" if failure else ""
        ours = record.name.partition(".")[0] == "machines_mcp"
        text = record.getMessage() if ours else f"({record.filename}:{record.lineno})"
        return f"{record.levelname} {record.name}: {text}{suffix}"


def configure(level: str) -> None:
    """Log our own records at `level`, those of libraries and warnings at WARNING without their text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_NoText())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("machines_mcp").setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    # Else a record that can't be formatted is printed with its arguments.
    logging.raiseExceptions = False
    # It prints where everything was, past all of this.
    faulthandler.disable()
    sys.excepthook = _ended
    sys.unraisablehook = lambda failure: _failed("something", failure.exc_type)
    threading.excepthook = lambda failure: _failed("a thread", failure.exc_type)


def _ended(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(f"machines-mcp ended by {kind.__name__}; run it with MACHINES_LOG_LEVEL=DEBUG or see doctor\n")


def _failed(what: str, kind: type[BaseException]) -> None:
    sys.stderr.write(f"machines-mcp: {what} failed by {kind.__name__}\n")
