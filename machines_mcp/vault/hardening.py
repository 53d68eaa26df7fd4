"""Restrict the vault process before it reads its request."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
# The timer's thread needs the interpreter lock. If it can't get it, SIGALRM ends the process this much later.
_LAST_RESORT_SECONDS = 0.5


def claim_output() -> int:
    """Return a private descriptor for the reply. All other output is discarded from now on."""
    # Standard error comes first: if it were closed, the next descriptor opened would take its place.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 2)
    reply = os.dup(1)
    os.dup2(nowhere, 1)
    return reply


def forbid_dumps() -> None:
    """Disable core files. On Linux, also keep other processes of this user out, and block privilege gains by exec."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def end_within(seconds: float) -> None:
    """End the process after `seconds`, whatever it is doing."""
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + _LAST_RESORT_SECONDS)


def die_with_parent() -> None:
    """On Linux, have the kernel kill this process when the parent dies, even if it is stopped or stuck."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent() -> None:
    """End the process when the parent's end of standard input closes, as it does if the parent dies."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> NoReturn:
    # A byte after the request violates the protocol, so it also ends the process.
    os.read(0, 1)
    end()


def end() -> NoReturn:
    """Exit at once with status 1, without any output."""
    os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
