"""The two ends of a client in memory, for a `LineReader` and a `LineWriter`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable


class MemoryPipe(ABC):
    """A source whose bytes are asked for one after another, and a sink that is never full."""

    @property
    def free(self) -> bool:
        return True

    @abstractmethod
    async def read(self) -> bytes:
        """Return the next bytes; none at the end."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Take what the server sends."""

    async def ready(self) -> None:
        return

    async def run(self, feed: Callable[[bytes], None]) -> None:
        while data := await self.read():
            feed(data)

    def pause(self) -> None:
        return

    def resume(self) -> None:
        return
