"""Limit how many things the processes of a state folder do at once. The system frees the slots of a dead process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.files import open_or_make
from machines_mcp.storage.private_folder import private_folder
from machines_mcp.storage.process_locks import try_lock

_POLL_SECONDS = 0.1


class SlotsTaken(Exception):
    """All slots stayed taken for as long as the caller waited."""


class Slots:
    """`count` slots of one `name`, each a locked file. Within a process, those who wait get them in order."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self._folder = folder / "slots"
        self._names = [f"{name}-{number}" for number in range(count)]
        self._limiter = anyio.CapacityLimiter(count)

    async def take(self, seconds: float) -> Slot:
        """Return a slot of the caller's own, which the caller must free. Waits for at most `seconds`.

        Raises:
            SlotsTaken: All stayed taken.
            StoreUnavailable: The state folder can't be used.
        """
        slot = Slot(self._limiter)
        with anyio.move_on_after(seconds):
            await self._limiter.acquire_on_behalf_of(slot)
            try:
                while True:
                    # A cancellation is delivered at the next pause, so no lock that was taken gets lost.
                    slot.lock = await anyio.to_thread.run_sync(self._lock_one)
                    if slot.lock is not None:
                        return slot
                    await anyio.sleep(_POLL_SECONDS)
            except BaseException:
                slot.free()
                raise
        raise SlotsTaken

    @asynccontextmanager
    async def taken(self, seconds: float) -> AsyncIterator[None]:
        """Hold a slot within the block. Raises as `take` does."""
        slot = await self.take(seconds)
        try:
            yield
        finally:
            slot.free()

    def _lock_one(self) -> int | None:
        """Return the descriptor of a file that this call locked, or None."""
        try:
            private_folder(self._folder)
            for name in self._names:
                descriptor = open_or_make(self._folder / name, os.O_RDWR)
                if try_lock(descriptor):
                    return descriptor
                os.close(descriptor)
        except OSError:
            raise StoreUnavailable from None
        return None


class Slot:
    """A slot that is held until `free`. `lock` is the descriptor of its file, which closing unlocks."""

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter
        self.lock: int | None = None

    def free(self) -> None:
        """Free the slot. Safe to call once."""
        if self.lock is not None:
            os.close(self.lock)
        self._limiter.release_on_behalf_of(self)
