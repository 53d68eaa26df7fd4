"""What the vault's process gives up before it reads its request."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
# The timer's thread needs the interpreter; where nobody lets it have that, the system ends the process this much later.
_LAST_RESORT_SECONDS = 0.5


def take_output() -> int:
    """A private descriptor for the reply; whatever else prints or logs goes nowhere from now on."""
    # First standard error: were it closed, the next descriptor opened would take its place.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 2)
    reply = os.dup(1)
    os.dup2(nowhere, 1)
    return reply


def forbid_dumps() -> None:
    """No core file; on Linux no look into the process by others of the same user, and no more rights by any program."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def end_within(seconds: float) -> None:
    """End the process after that time, whatever it does then."""
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + _LAST_RESORT_SECONDS)


def die_with_parent() -> None:
    """On Linux, have the system kill the process when the parent is gone, be it stopped or stuck."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent() -> None:
    """End the process when the parent's end of standard input closes, as any death of the parent does."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> NoReturn:
    # A byte after the request is a breach of the protocol: the end as well.
    os.read(0, 1)
    end()


def end() -> NoReturn:
    """The end, now and without a word."""
    os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
