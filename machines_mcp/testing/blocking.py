"""The ready user for tests without an event loop: the same methods, which block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from machines_mcp.testing.clients import Answer, Era
from machines_mcp.testing.simulators import Simulator
from machines_mcp.testing.users import ReadyUser, ready_user

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(method: Callable[Concatenate[Any, P], Awaitable[R]]) -> Callable[Concatenate[Any, P], R]:
    """Return a method that runs the async one on the loop's thread, and returns its result."""

    def blocking(self: _OnPortal, /, *args: P.args, **kwargs: P.kwargs) -> R:
        async def called() -> R:
            return await method(self.target, *args, **kwargs)

        return self.portal.call(called)

    update_wrapper(blocking, method)
    return blocking


class _OnPortal:
    def __init__(self, portal: BlockingPortal, target: Any) -> None:
        self.portal, self.target = portal, target


class BlockingSimulator(_OnPortal):
    """A `Simulator` whose methods block."""

    finish_kyc = _blocking(Simulator.finish_kyc)
    complete_deposit = _blocking(Simulator.complete_deposit)
    spend = _blocking(Simulator.spend)
    execute_withdrawal = _blocking(Simulator.execute_withdrawal)
    advance = _blocking(Simulator.advance)
    fault = _blocking(Simulator.fault)
    clear_faults = _blocking(Simulator.clear_faults)
    limit_rate = _blocking(Simulator.limit_rate)
    order = _blocking(Simulator.order)


class BlockingUser(_OnPortal):
    """A `ReadyUser` whose methods block. It has no `client`, because an MCP client needs a loop."""

    def __init__(self, portal: BlockingPortal, user: ReadyUser) -> None:
        super().__init__(portal, user)
        self.user_id, self.env = user.user_id, user.env
        self.simulator = BlockingSimulator(portal, user.simulator)

    call = _blocking(ReadyUser.call)
    try_call = _blocking(ReadyUser.try_call)
    decide = _blocking(ReadyUser.decide)


@contextmanager
def blocking_user(
    user_id: str = "user-1",
    *,
    balance_cents: int = 100_00,
    answer: Answer | None = "accept",
    mode: Era = "auto",
    state_dir: Path | None = None,
    own_process: bool = False,
) -> Iterator[BlockingUser]:
    """Yield a `ready_user` for code without an event loop; a thread runs the loop. The arguments are the same.

    Raises:
        ValueError: The balance is below the smallest deposit, 100 cents.
        SandboxFailed: The simulator did not start within 15 seconds.
    """
    made = ready_user(
        user_id, balance_cents=balance_cents, answer=answer, mode=mode, state_dir=state_dir, own_process=own_process
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(made) as user:
        yield BlockingUser(portal, user)
