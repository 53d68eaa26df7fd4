"""Context managers whose inside runs in a task of its own.

The MCP client and its server hold task groups. A task group must be left in the task that entered it, and wraps or
cancels whatever is raised inside it. In a task of its own it does neither to the block of the caller: exceptions pass
unchanged, and a fixture may be set up in one task and torn down in another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

import anyio

END_SECONDS = 15.0
"""How long the end of a block waits for the inside. Then it cancels the inside."""
CANCEL_SECONDS = 5.0
WRONG_LOOP = (
    "machines_mcp.testing runs on asyncio only; with anyio's plugin, let the fixture anyio_backend return 'asyncio'."
)

P = ParamSpec("P")
T = TypeVar("T")


def in_own_task(function: Callable[P, AsyncIterator[T]]) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Turn an async generator into a function that returns an `OwnTask`."""
    manager = asynccontextmanager(function)

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        return OwnTask(manager(*args, **kwargs))

    return made


class OwnTask(AbstractAsyncContextManager[T]):
    """Enters and leaves `inside` in one task, whatever tasks enter and leave this one.

    Raises:
        RuntimeError: No asyncio loop runs here.
    """

    def __init__(self, inside: AbstractAsyncContextManager[T]) -> None:
        self._inside = inside
        self._value: list[T] = []

    async def __aenter__(self) -> T:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(WRONG_LOOP) from None
        self._ready, self._leave = asyncio.Event(), asyncio.Event()
        self._task = loop.create_task(self._run(), name="machines-testing")
        self._task.add_done_callback(lambda task: self._ready.set())
        try:
            await self._ready.wait()
        except BaseException:
            await self._cancel()
            raise
        if not self._value:
            raise _failure(self._task) or RuntimeError("the helper ended before it began")
        return self._value[0]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave.set()
        try:
            # A cancelled caller still waits, so that everything has stopped when its block has ended.
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self._task}, timeout=END_SECONDS)
        finally:
            if not self._task.done():
                await self._cancel()
        failure = _failure(self._task)
        if failure is None:
            return
        if error is None:
            raise failure
        error.add_note(f"The helper did not end cleanly either: {type(failure).__name__}.")

    async def _run(self) -> None:
        async with self._inside as value:
            self._value.append(value)
            self._ready.set()
            await self._leave.wait()

    async def _cancel(self) -> None:
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({self._task}, timeout=CANCEL_SECONDS)
        _failure(self._task)


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    """Return the error that ended the task, without groups of one, or None."""
    if not task.done():
        return TimeoutError("the helper did not end in time")
    if task.cancelled():
        return None
    error = task.exception()
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
        # The group says nothing that its only member does not.
        error.__suppress_context__ = True
    return error
