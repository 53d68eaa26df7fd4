"""Logging to stderr, where clients keep it: lines without values, tracebacks without text."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

# At DEBUG these print headers, bodies or whole frames.
_QUIET = ("httpx", "httpcore", "hpack", "asyncio", "mcp", "uvicorn", "opentelemetry")


class _NoText(logging.Formatter):
    """One line per record; of an exception only the class, since its text can hold what it was working on."""

    def format(self, record: logging.LogRecord) -> str:
        failure = record.exc_info[0] if record.exc_info else None
        suffix = f" [{failure.__name__}]" if failure else ""
        return f"{record.levelname} {record.name}: {record.getMessage()}{suffix}"


def configure(level: str) -> None:
    """Log our own records at `level`, those of libraries at WARNING without their arguments."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_NoText())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("machines_mcp").setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.excepthook = _hook


def _hook(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(f"machines-mcp ended by {kind.__name__}; run it with MACHINES_LOG_LEVEL=DEBUG or see doctor\n")
