"""Share the worlds of a module between its tests. Each test creates its own users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.approval.wire import ERAS, Era
from tests.approval.world import CHANNELS, Channel, Installation, Name, world
from tests.support.running_sandbox import Sandbox

USABLE: tuple[Name, ...] = ("embedded", "sandbox")
CARD = {"limit_amount_cents": 5000, "limit_frequency": "per24HourPeriod"}
MODERN: Era = ERAS[1]


def _soon(era: Era, name: Name) -> bool:
    """Return whether `make test` runs the case. It runs each era and each world once; `make check` runs every pair."""
    return (era == MODERN) == (name == "sandbox")


def _case(era: Era, name: Name, *more: Channel) -> object:
    return pytest.param(era, name, *more, marks=[] if _soon(era, name) else [pytest.mark.check])


everywhere = pytest.mark.parametrize(("era", "name"), [_case(era, name) for era in ERAS for name in USABLE])
"""Both eras, in both worlds that can grant approvals."""
every_channel = pytest.mark.parametrize(
    ("era", "name", "channel"), [_case(era, name, channel) for era in ERAS for name in USABLE for channel in CHANNELS]
)
"""The same, for each channel outside the dialog."""


class Worlds:
    """The worlds of a module, each created on first use."""

    def __init__(self, stack: AsyncExitStack, folders: pytest.TempPathFactory, sandbox: Sandbox) -> None:
        self._stack, self._folders, self._sandbox = stack, folders, sandbox
        self._made: dict[Name, Installation] = {}

    async def named(self, name: Name) -> Installation:
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
