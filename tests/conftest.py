"""Fixtures that every folder of tests shares."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
import sniffio

from tests.sandbox.running import Sandbox, running


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, the loop that the server runs on."""
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """Lets plain tests and fixtures run a loop of their own while an async fixture of a session or module is alive.

    anyio notes in the context which library runs, for as long as it keeps a loop for fixtures, also between them.
    Inside that loop it needs no note: there it asks asyncio.
    """
    try:
        return (yield)
    finally:
        sniffio.current_async_library_cvar.set(None)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The embedded Partner API as a process: `base_url`, `partner_key`, `control_url`.

    It is shared by all tests of the run, so each takes users of its own, and none moves the clock or empties the state:
    what needs that starts one with `tests.sandbox.running.running()`.
    """
    with running() as started:
        yield started
