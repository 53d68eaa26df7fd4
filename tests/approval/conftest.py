"""Worlds that the tests of a module share; each test takes users of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.approval.world import Name, World, world
from tests.sandbox.running import Sandbox


class Worlds:
    """The worlds of a module, each made when first needed."""

    def __init__(self, stack: AsyncExitStack, folders: pytest.TempPathFactory, sandbox: Sandbox) -> None:
        self._stack, self._folders, self._sandbox = stack, folders, sandbox
        self._made: dict[Name, World] = {}

    async def named(self, name: Name) -> World:
        if name not in self._made:
            made = world(name, self._folders.mktemp(name), self._sandbox)
            self._made[name] = await self._stack.enter_async_context(made)
        self._made[name].forget_refusals()
        return self._made[name]


@pytest.fixture(scope="module")
async def worlds(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox
) -> AsyncIterator[Worlds]:
    async with AsyncExitStack() as stack:
        yield Worlds(stack, tmp_path_factory, sandbox)
