"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator

import pytest
import sniffio
from hypothesis import HealthCheck, settings

from tests.support.partition import begin_watch, divide, fail_if_it_started_one, watch_processes
from tests.support.running_sandbox import Sandbox, in_thread

# On a busy machine an example may take any time.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Restore SIGINT and SIGHUP. A shell starts background jobs with them ignored, and children inherit that."""
    watch_processes()
    if threading.current_thread() is not threading.main_thread():
        return
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Divide the tests between `make test` and `make check`."""
    divide(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    begin_watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Hold the rule that `make test` starts no process."""
    yield
    fail_if_it_started_one(item)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, the loop that the server runs on."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _keep_test_logging() -> Iterator[None]:
    """Keep commands that run in this process from reconfiguring logging, hooks and warnings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("machines_mcp.server.log_config.configure", lambda level: None)
        yield


@pytest.fixture(autouse=True)
def _quick_passphrases(request: pytest.FixtureRequest) -> Iterator[None]:
    """Makes a passphrase cheap to check, unless a process that does not know of it may have to check the same one."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("check") is None and request.node.get_closest_marker("process") is None:
            patch.setattr("machines_mcp.permissions.passphrase._N", 2**6)
        yield


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
    """The embedded Partner API, served by a thread: `base_url`, `partner_key`, `control_url`.

    All tests of the run share it: use your own users, and don't advance the clock or reset the state. A test that must
    do so starts its own with `tests.support.running_sandbox.in_thread()`.
    """
    with in_thread() as started:
        yield started
