"""Log to stderr, which clients store: lines without values, exceptions without their text."""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
from types import TracebackType

# At DEBUG, these log headers, bodies or whole frames.
_SILENCED_LOGGERS = ("httpx", "httpcore", "hpack", "asyncio", "mcp", "uvicorn", "opentelemetry")


class _ValueFreeFormatter(logging.Formatter):
    """Formats a record as one line, with only the class of an exception, because its text can contain values.

    For the same reason, a library's record shows only its file and line.
    """

    def format(self, record: logging.LogRecord) -> str:
        failure = record.exc_info[0] if record.exc_info else None
        suffix = f" [{failure.__name__}]" if failure else ""
        ours = record.name.partition(".")[0] == "machines_mcp"
        text = record.getMessage() if ours else f"({record.filename}:{record.lineno})"
        return f"{record.levelname} {record.name}: {text}{suffix}"


def configure(level: str) -> None:
    """Log our own records at `level`. Log library records and warnings at WARNING, without their text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ValueFreeFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("machines_mcp").setLevel(level)
    for name in _SILENCED_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    # Otherwise a record that can't be formatted is printed with its arguments.
    logging.raiseExceptions = False
    # Its dumps bypass this formatter.
    faulthandler.disable()
    sys.excepthook = _report_crash
    sys.unraisablehook = lambda failure: _report_failure("a finalizer or callback", failure.exc_type)
    threading.excepthook = lambda failure: _report_failure("a thread", failure.exc_type)


def _report_crash(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(f"machines-mcp stopped with {kind.__name__}; set MACHINES_LOG_LEVEL=DEBUG or run doctor\n")


def _report_failure(what: str, kind: type[BaseException]) -> None:
    sys.stderr.write(f"machines-mcp: {what} failed with {kind.__name__}\n")
