"""Fixtures that every folder of tests shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.running import Sandbox, running


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, the loop that the server runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The embedded Partner API as a process: `base_url`, `partner_key`, `control_url`.

    It is shared by all tests of the run, so each takes users of its own, and none moves the clock or empties the state:
    what needs that starts one with `tests.sandbox.running.running()`.
    """
    with running() as started:
        yield started
