"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator

import pytest
import sniffio

from tests.sandbox.running import Sandbox, in_thread

# Each test here starts processes, and both protocol eras of it take twice as long. The dialog, the gate and the leaks,
# where the eras differ, are tried in both at once; these in the newer by `make test`, in both by `make check`.
ONE_ERA_FIRST = (
    "tests/server/test_card_reveals.py",
    "tests/matrix/",
    "tests/journeys/test_audit.py",
    "tests/journeys/test_fifteen_steps.py",
    "tests/journeys/test_preconditions.py",
    "tests/journeys/test_process.py",
    "tests/benchmarks/",
)
OLDER_ERA = ("legacy", "2025-11-25")
# Minutes each. Begun first, so that at the end of `make check` nobody waits long for the last.
LONGEST = (
    "tests/packaging/test_versions.py",
    "tests/mutants/",
    "tests/crashes/",
    "tests/leaks/",
    "tests/machine/test_machine.py",
    "tests/faults/test_fault_responses.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let the processes that tests start be ended: what a shell began in the background ignores Ctrl-C, and so would
    they."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the older era of the costly tests to `make check`, and there begin with the longest."""
    for item in items:
        if isinstance(item, pytest.Function) and item.nodeid.startswith(ONE_ERA_FIRST):
            values = item.callspec.params.values() if hasattr(item, "callspec") else ()
            if any(value in OLDER_ERA for value in values if isinstance(value, str)):
                item.add_marker(pytest.mark.check)
    items.sort(key=lambda item: item.get_closest_marker("check") is None or not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, the loop that the server runs on."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _logging_is_the_tests() -> Iterator[None]:
    """Keeps a command that is run in this process from taking over its logging, hooks and warnings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("machines_mcp.server.log_config.configure", lambda level: None)
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
    """The embedded Partner API as a process: `base_url`, `partner_key`, `control_url`.

    It is shared by all tests of the run, so each takes users of its own, and none moves the clock or empties the state:
    what needs that starts one with `tests.sandbox.running.in_thread()`.
    """
    with in_thread() as started:
        yield started
