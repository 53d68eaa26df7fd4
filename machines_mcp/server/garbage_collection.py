"""Garbage collection of a server that starts.

Importing makes objects that stay, so looking for garbage among them only delays the first response, by an eighth.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

START_SECONDS = 5.0
"""How long a running server goes without: it imports its tools at the first request for them."""


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing within the block, unless `resume_later` ends the pause."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def resume_later() -> None:
    """Collect again in 5 seconds, but never look at what was imported until then. Call on the loop's thread."""
    import asyncio

    asyncio.get_running_loop().call_later(START_SECONDS, _resume)


def _resume() -> None:
    gc.freeze()
    gc.enable()
