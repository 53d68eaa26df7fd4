"""Context managers in a task of their own: exceptions, cancellation, and setup and teardown in different tasks."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.testing import client, ready_user, simulator
from machines_mcp.testing.own_task import in_own_task
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

Helper = Callable[[], AbstractAsyncContextManager[Any]]
HELPERS: dict[str, Helper] = {"ready_user": ready_user, "client": client, "simulator": simulator}


class Odd(BaseException):
    """An exception that is no `Exception`."""


RAISED = {
    "xfail": lambda: pytest.xfail("known"),
    "fail": lambda: pytest.fail("wrong"),
    "skip": lambda: pytest.skip("not here"),
    "assert": lambda: _assert(),
    "exit": lambda: _raise(SystemExit(3)),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "error": lambda: _raise(LookupError("one")),
    "group": lambda: _raise(ExceptionGroup("mine", [ValueError("one"), ValueError("two")])),
    "base": lambda: _raise(Odd()),
    "stop": lambda: _raise(StopAsyncIteration()),
}


def _assert() -> None:
    assert 1 + 1 == 3


def _raise(error: BaseException) -> None:
    raise error


@pytest.fixture(autouse=True)
async def _in_time() -> AsyncIterator[None]:
    with anyio.fail_after(PATIENCE):
        yield


async def raised_in(helper: Helper, act: Callable[[], object]) -> tuple[BaseException | None, BaseException | None]:
    """Return what was raised inside the block, and what came out of it."""
    inside: BaseException | None = None
    try:
        async with helper():
            try:
                act()
            except BaseException as error:
                inside = error
                raise
    except BaseException as error:
        return inside, error
    return inside, None


@pytest.mark.parametrize("act", RAISED.values(), ids=RAISED)
@pytest.mark.parametrize("helper", HELPERS.values(), ids=HELPERS)
async def test_an_exception_comes_out_as_it_went_in(helper: Helper, act: Callable[[], object]) -> None:
    inside, outside = await raised_in(helper, act)
    assert outside is inside
    assert outside is not None
    assert (outside.__cause__, outside.__context__, getattr(outside, "__notes__", [])) == (None, None, [])
    text = "".join(traceback.format_exception(outside))
    assert "Exception Group" not in text or isinstance(outside, ExceptionGroup)
    assert text.count("Traceback (most recent call last)") == 1


async def test_a_failure_in_the_setup_is_one_error(tmp_path: Path) -> None:
    @in_own_task
    async def fails() -> AsyncIterator[None]:
        async with anyio.create_task_group(), anyio.create_task_group():
            raise LookupError("at the start")
        yield

    with pytest.raises(LookupError, match="at the start"):
        async with fails():
            pass
    policy = tmp_path / "policy.toml"
    policy.write_text("version = 0\n", encoding="ascii")
    policy.chmod(0o600)
    with pytest.raises(Exception, match="version") as refused:
        async with client(policy=policy):
            pass
    assert type(refused.value).__name__ == "PolicyError"


async def test_a_failure_in_the_teardown_is_one_error_and_does_not_hide_the_block_s() -> None:
    @in_own_task
    async def fails() -> AsyncIterator[None]:
        async with anyio.create_task_group():
            yield
            raise LookupError("at the end")

    with pytest.raises(LookupError, match="at the end"):
        async with fails():
            pass
    with pytest.raises(ValueError, match="mine") as raised:
        async with fails():
            raise ValueError("mine")
    assert raised.value.__notes__ == ["The helper did not end cleanly either: LookupError."]


async def test_setup_and_teardown_may_be_in_different_tasks() -> None:
    made = ready_user()
    user = await asyncio.create_task(made.__aenter__())
    assert (await asyncio.create_task(user.call("get_balances")))["spending_power_cents"] == 100_00
    assert await asyncio.create_task(made.__aexit__(None, None, None)) is None
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "machines-testing"]


@pytest.mark.parametrize("native", [True, False], ids=["task", "scope"])
@pytest.mark.parametrize("where", ["setup", "block"])
async def test_cancellation_ends_the_inside_first(where: str, native: bool) -> None:
    events: list[str] = []
    reached = asyncio.Event()

    @in_own_task
    async def slow() -> AsyncIterator[None]:
        events.append("begun")
        try:
            if where == "setup":
                reached.set()
                await anyio.sleep_forever()
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            events.append("ended")

    scope = anyio.CancelScope()

    async def run() -> None:
        with scope:
            try:
                async with slow():
                    reached.set()
                    await anyio.sleep_forever()
            finally:
                events.append("left")

    task = asyncio.create_task(run())
    await reached.wait()
    if native:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        scope.cancel()
        await task
    assert events == ["begun", "ended", "left"]


async def test_a_user_is_closed_when_its_block_is_cancelled() -> None:
    with anyio.CancelScope() as scope:
        async with ready_user() as user:
            scope.cancel()
            await anyio.sleep_forever()
    assert not user.simulator.state_dir.exists()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "machines-testing"]


async def test_an_inside_that_does_not_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machines_mcp.testing.own_task.END_SECONDS", 0.05)

    @in_own_task
    async def hangs() -> AsyncIterator[None]:
        yield
        await anyio.sleep_forever()

    async with hangs():
        pass
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "machines-testing"]


async def test_simulator_runs_in_this_process_unless_asked() -> None:
    """`make test` fails a test that starts a process."""
    async with simulator() as found:
        assert (await found.advance(1)).startswith("20")


@pytest.mark.check
async def test_another_process_reaches_the_user_and_the_simulator() -> None:
    for own_process in (False, True):
        async with ready_user(own_process=own_process) as user:
            command = [sys.executable, "-m", "machines_mcp", "call", "get_balances"]
            done = await anyio.run_process(command, env=dict(os.environ) | user.env)
            assert b'"spending_power_cents": 10000' in done.stdout
