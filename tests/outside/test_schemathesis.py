"""Schemathesis, which knows only the contract file, finds no violation in the sandbox.

`MACHINES_OUTSIDE_EXAMPLES` sets the number of cases per operation (and of walks along the links).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.contract.judge import CONTRACT_FILE, contract
from tests.support.running_sandbox import ROOT, running
from tests.support.sandbox_caller import SandboxClient

pytestmark = pytest.mark.check

EXAMPLES = int(os.environ.get("MACHINES_OUTSIDE_EXAMPLES", "40"))
# Allows for a slow machine. The default number takes a tenth of it.
RUN_SECONDS = 600 + 30 * EXAMPLES
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "ignored_auth", "unsupported_method", "allow_header_conformance"),
)
DAY = 86_400


@pytest.fixture
def caller() -> Iterator[SandboxClient]:
    """Return a caller of a separate sandbox."""
    with running() as started:
        caller = SandboxClient(started)
        yield caller
        caller.close()


def drive(caller: SandboxClient, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run schemathesis over HTTP against the caller's sandbox, as a partner with a ready user."""
    user = caller.funded_user(5_000)
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.outside.hooks",
        "MACHINES_OUTSIDE_PARTNER_KEY": caller.sandbox.partner_key,
        "MACHINES_OUTSIDE_TOKEN": caller.session(user.user_id, ttl=DAY),
    }
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(CONTRACT_FILE), "--url", caller.sandbox.base_url]
    command += ["--checks", ",".join(CHECKS), "--seed", "1", "--generation-database", "none", "--no-color"]
    return subprocess.run(
        [*command, *options], env=environment, cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS
    )


def served(har: Path) -> dict[str, set[int]]:
    """Return the statuses that each operation returned, from a recording of all calls."""
    seen: dict[str, set[int]] = {operation.operation_id: set() for operation in contract().operations}
    for entry in json.loads(har.read_text(encoding="utf-8"))["log"]["entries"]:
        operation = contract().operation(entry["request"]["method"], urlsplit(entry["request"]["url"]).path)
        if operation is not None:
            seen[operation.operation_id].add(entry["response"]["status"])
    return seen


def test_generated_calls_never_break_the_contract(caller: SandboxClient, tmp_path: Path) -> None:
    har = tmp_path / "calls.har"
    done = drive(caller, tmp_path, "--max-examples", str(EXAMPLES), "--report-har-path", str(har))
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    statuses = served(har)
    # A run where every call is rejected would find nothing either.
    assert [name for name, seen in statuses.items() if not {200, 401} <= seen] == []


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ({"kind": "status", "status": 500}, "Server error"),
        ({"kind": "status", "status": 418}, "Undocumented status code"),
        ({"kind": "html"}, "Undocumented Content-Type"),
        ({"kind": "wrong_types"}, "Response violates schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_sandbox_that_breaks_the_contract_is_detected(
    caller: SandboxClient, tmp_path: Path, fault: dict[str, object], finding: str
) -> None:
    caller.control("/faults", {"path": "/balances", "calls": 1000, **fault})
    done = drive(caller, tmp_path, "--include-path", "/balances", "--max-examples", "3", "--phases", "fuzzing")
    assert done.returncode == 1, done.stdout[-4000:]
    assert finding in done.stdout
