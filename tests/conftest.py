"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import sniffio

from tests.sandbox.running import Sandbox, running


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, the loop that the server runs on."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_loop_from_elsewhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets a plain test run a loop of its own while an async fixture of the session or of a module is alive.

    anyio notes in the context which library runs, for as long as it keeps a loop for fixtures, also between tests.
    """
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    token = sniffio.current_async_library_cvar.set(None)
    yield
    sniffio.current_async_library_cvar.reset(token)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The embedded Partner API as a process: `base_url`, `partner_key`, `control_url`.

    It is shared by all tests of the run, so each takes users of its own, and none moves the clock or empties the state:
    what needs that starts one with `tests.sandbox.running.running()`.
    """
    with running() as started:
        yield started
