"""A pytest plugin: `pytest_plugins = ["machines_mcp.testing.pytest"]` in a conftest.py.

Its fixtures share one simulator per test. They work in async tests of pytest-asyncio and of anyio's plugin; only
`machines_blocking_user` works in tests that are not async. Override or parametrize `machines_options` to change them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from mcp import Client

from machines_mcp.testing.blocking import BlockingUser, blocking_user
from machines_mcp.testing.clients import client
from machines_mcp.testing.own_task import WRONG_LOOP
from machines_mcp.testing.simulators import Simulator, simulator
from machines_mcp.testing.users import ReadyUser, ready_user

T = TypeVar("T")
BOTH_RUNNERS = (
    "pytest-asyncio and anyio's plugin both handle this test; remove pytest.mark.anyio, or unset asyncio_mode = auto "
    "and pytest.mark.asyncio."
)
LOOP_SCOPES = ("function", "class", "module", "package", "session")


@pytest.fixture
def machines_options() -> Mapping[str, Any]:
    """The arguments of `ready_user` and `client` for this test's fixtures. Each takes those that it knows."""
    return {}


@pytest.fixture
def machines_user(request: pytest.FixtureRequest, machines_options: Mapping[str, Any]) -> ReadyUser:
    """A user past the identity check and the agreements, with 100 dollars to spend: `ready_user`."""
    return _present(_made(request).user, request)


@pytest.fixture
def machines_client(request: pytest.FixtureRequest, machines_options: Mapping[str, Any]) -> Client:
    """An MCP client for a server of its own, pinned to no user unless the options say so: `client`."""
    return _present(_made(request).client, request)


@pytest.fixture
def machines_simulator(request: pytest.FixtureRequest, machines_options: Mapping[str, Any]) -> Simulator:
    """The simulator of this test: `simulator`."""
    return _made(request).simulator


@pytest.fixture
def machines_blocking_user(machines_options: Mapping[str, Any]) -> Iterator[BlockingUser]:
    """The same user for a test that is not async: `blocking_user`."""
    with blocking_user(**_known(blocking_user, machines_options)) as user:
        yield user


@dataclass(frozen=True, slots=True)
class _Made:
    """The helpers of one test, all over one simulator. What the test does not ask for is None."""

    simulator: Simulator
    user: ReadyUser | None
    client: Client | None


@asynccontextmanager
async def _make(asked: Collection[str], machines_options: Mapping[str, Any]) -> AsyncIterator[_Made]:
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(simulator(**_known(simulator, machines_options)))
        user = another = None
        if "machines_user" in asked:
            options = _known(ready_user, machines_options) | {"state_dir": found.state_dir}
            user = await stack.enter_async_context(ready_user(**options))
        if "machines_client" in asked:
            options = _known(client, machines_options) | {"state_dir": found.state_dir}
            another = await stack.enter_async_context(client(**options))
        yield _Made(found, user, another)


def _known(function: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are arguments of the function."""
    everything = {name for each in (ready_user, client) for name in inspect.signature(each).parameters}
    if unknown := sorted(options.keys() - everything):
        raise pytest.UsageError(f"machines_options: {unknown[0]!r} is no argument of ready_user or client")
    return {name: options[name] for name in inspect.signature(function).parameters if name in options}


def _made(request: pytest.FixtureRequest) -> _Made:
    """Return the helpers, made on the loop that runs the test."""
    found: _Made = request.getfixturevalue(f"_machines_{_runner(request)}")
    return found


def _present(found: T | None, request: pytest.FixtureRequest) -> T:
    if found is None:
        # Only an async fixture can make it, and that has run already.
        pytest.fail(f"name {request.fixturename} among the arguments of the test or a fixture.", pytrace=False)
    return found


def _runner(request: pytest.FixtureRequest) -> str:
    """Return the plugin that runs the test: `anyio`, or `asyncio_` and the scope of its loop."""
    marker, has_anyio = request.node.get_closest_marker("asyncio"), "anyio_backend" in request.fixturenames
    if marker is not None and request.config.pluginmanager.has_plugin("asyncio"):
        if has_anyio:
            # Each would run a loop of its own, and what one loop made fails in the other.
            pytest.fail(BOTH_RUNNERS, pytrace=False)
        scope = marker.kwargs.get("loop_scope") or request.config.getini("asyncio_default_test_loop_scope")
        return f"asyncio_{scope}"
    if not has_anyio:
        pytest.fail(
            f"{request.fixturename} needs an async test that pytest-asyncio or anyio's plugin runs; "
            "in other tests, use machines_blocking_user.",
            pytrace=False,
        )
    if request.getfixturevalue("anyio_backend_name") != "asyncio":
        pytest.skip(WRONG_LOOP)
    return "anyio"


def _fixture_function() -> Callable[..., AsyncIterator[_Made]]:
    """Return a new function each time, because pytest-asyncio notes the scope of the loop on it."""

    async def made(request: pytest.FixtureRequest, machines_options: Mapping[str, Any]) -> AsyncIterator[_Made]:
        async with _make(request.fixturenames, machines_options) as found:
            yield found

    return made


_machines_anyio = pytest.fixture(_fixture_function())
try:
    _asyncio_fixture = importlib.import_module("pytest_asyncio").fixture
except ImportError:
    pass
else:
    for _scope in LOOP_SCOPES:
        _name = f"_machines_asyncio_{_scope}"
        globals()[_name] = _asyncio_fixture(loop_scope=_scope, name=_name)(_fixture_function())
