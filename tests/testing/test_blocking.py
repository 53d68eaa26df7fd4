"""The ready user without an event loop."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from machines_mcp.testing import (
    BlockingSimulator,
    BlockingUser,
    CallFailed,
    ReadyUser,
    Simulator,
    blocking_user,
    ready_user,
)


def test_without_an_asyncio_loop_the_error_says_so() -> None:
    coroutine: Any = ready_user().__aenter__()
    with pytest.raises(RuntimeError, match=r"^machines_mcp\.testing runs on asyncio only; .*\.$"):
        coroutine.send(None)


def test_blocking_user_needs_no_loop_and_passes_exceptions() -> None:
    with pytest.raises(SystemExit) as raised, blocking_user(balance_cents=50_00) as user:
        card = user.call("create_card", limit_amount_cents=20_00, limit_frequency="per30DayPeriod")
        assert user.simulator.spend(card["card_id"], 15_00).approved
        assert user.try_call("get_card", card_id="00000000-0000-4000-8000-000000000000")["code"] == "not_found"
        with pytest.raises(CallFailed, match="not_found"):
            user.call("get_card", card_id="00000000-0000-4000-8000-000000000000")
        raise SystemExit(4)
    assert raised.value.code == 4


def test_every_method_has_its_blocking_form() -> None:
    for blocking, original in ((BlockingUser, ReadyUser), (BlockingSimulator, Simulator)):
        asynchronous = {name for name, method in vars(original).items() if inspect.iscoroutinefunction(method)}
        assert asynchronous == {name for name in vars(blocking) if not name.startswith("_")}
        for name in asynchronous:
            assert getattr(blocking, name).__doc__ == getattr(original, name).__doc__
