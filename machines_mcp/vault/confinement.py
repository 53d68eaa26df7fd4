"""What the vault's process gives up before it reads its request."""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn

_PR_SET_DUMPABLE = 4


def take_output() -> int:
    """A private descriptor for the reply; whatever else prints or logs goes nowhere from now on."""
    # First standard error: were it closed, the next descriptor opened would take its place.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 2)
    reply = os.dup(1)
    os.dup2(nowhere, 1)
    return reply


def forbid_dumps() -> None:
    """No core file, and on Linux no look into the process by others of the same user."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_within(seconds: float) -> None:
    """End the process after that time, whatever it does then."""
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def end_with_parent() -> None:
    """End the process when the parent's end of standard input closes, as any death of the parent does."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> NoReturn:
    # A byte after the request is a breach of the protocol: the end as well.
    os.read(0, 1)
    _end()


def _end() -> NoReturn:
    os._exit(1)
