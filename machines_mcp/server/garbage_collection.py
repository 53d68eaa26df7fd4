"""Garbage collection of a server that starts.

Importing makes objects that stay, so looking for garbage among them only delays the first response, by a tenth.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing within the block, unless `resume_soon` ends the pause."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def resume_soon() -> None:
    """Collect again once the running task first waits, but never look at what exists then. Call on the loop's thread.

    Until the server waits for its client it only imports, so nearly all of that stays.
    """
    import asyncio

    asyncio.get_running_loop().call_soon(_resume)


def _resume() -> None:
    gc.freeze()
    gc.enable()
