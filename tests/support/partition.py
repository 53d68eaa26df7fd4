"""Select the tests of `make test`, `make check` and `make long`. CI runs the first two.

Tests of `make test` start no process, unless they are marked `process`. Other tests that start one, or are slow, have
the marker `check`. This module marks whole files; decorators mark single tests. A test with neither marker fails if it
starts a process. Tests marked `long` run in `make long` only.
"""

from __future__ import annotations

import sys

import pytest

CHECK_FILES = (
    "tests/approval/",
    "tests/benchmarks/test_cancel.py",
    "tests/benchmarks/test_measure.py",
    "tests/benchmarks/test_peers.py",
    "tests/benchmarks/test_soak.py",
    "tests/cli/doctor/test_run.py",
    "tests/cli/test_desk.py",
    "tests/cli/test_sealed_cards.py",
    "tests/crashes/test_crashes.py",
    "tests/docs/test_client.py",
    "tests/examples/",
    "tests/faults/test_server.py",
    "tests/faults/test_stops.py",
    "tests/faults/test_two_servers.py",
    "tests/journeys/test_audit.py",
    "tests/journeys/test_desk.py",
    "tests/journeys/test_fifteen_steps.py",
    "tests/journeys/test_preconditions.py",
    "tests/journeys/test_interrupted.py",
    "tests/journeys/test_next_steps.py",
    "tests/journeys/test_process.py",
    "tests/journeys/test_second_user.py",
    "tests/leaks/test_campaign.py",
    "tests/leaks/test_memory.py",
    "tests/machine/test_failpoints.py",
    "tests/machine/test_machine.py",
    "tests/machine/test_planted_bugs.py",
    "tests/matrix/test_channels.py",
    "tests/matrix/test_process.py",
    "tests/matrix/test_traces.py",
    "tests/matrix/test_verbatim.py",
    "tests/outside/",
    "tests/packaging/test_build.py",
    "tests/packaging/test_install.py",
    "tests/packaging/test_start.py",
    "tests/packaging/test_versions.py",
    "tests/peers/",
    "tests/protocol/test_stdio_end.py",
    "tests/sandbox/test_lease.py",
    "tests/sandbox/test_process.py",
    "tests/server/test_card_reveals.py",
    "tests/server/test_log_config.py",
    "tests/server/test_sandbox_process.py",
    "tests/vault/test_client.py",
    "tests/vault/test_hardening.py",
    "tests/vault/test_jwe_sink.py",
    "tests/vault/test_page_client.py",
    "tests/vault/test_page_worker.py",
    "tests/vault/test_reveal.py",
    "tests/vault/test_worker.py",
)
CHECK_FIXTURES = frozenset({"served"})
"""Fixtures that start a server process."""
# Minutes each. They run first, so that `make check` does not end with one idle worker.
LONGEST = (
    "tests/packaging/test_versions.py",
    "tests/mutants/",
    "tests/crashes/",
    "tests/leaks/",
    "tests/machine/test_machine.py",
    "tests/faults/test_fault_responses.py",
)
OLDER_ERA = "legacy"
_STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")

_started: list[str] = []


def divide(items: list[pytest.Item]) -> None:
    """Mark the tests of `make check`, and order the longest first."""
    for item in items:
        fixtures = CHECK_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        exempt = item.get_closest_marker("process") is not None and not item.nodeid.endswith(f"[{OLDER_ERA}]")
        is_long = item.get_closest_marker("long") is not None
        if is_long or ((item.nodeid.startswith(CHECK_FILES) or fixtures) and not exempt):
            item.add_marker(pytest.mark.check)
    items.sort(key=lambda item: item.get_closest_marker("check") is None or not item.nodeid.startswith(LONGEST))


def watch_processes() -> None:
    """Record every process that this one starts from now on."""

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event in _STARTS:
            _started.append(str(arguments[0]) if arguments else event)

    sys.addaudithook(note)


def begin_watch() -> None:
    """Clear the record before the next test."""
    _started.clear()


def fail_if_it_started_one(item: pytest.Item) -> None:
    """Fail a test of `make test` if it or its fixtures started a process."""
    if _started and item.get_closest_marker("check") is None and item.get_closest_marker("process") is None:
        pytest.fail(f"started {_started[0]}; mark it `check` (see tests/support/partition.py)", pytrace=False)
