"""The protocol's conformance suite, for both revisions, against this server with fixtures.

A scenario that also passes on an empty server proves nothing, so it does not count. Expected failures are listed in
files, each with a reason.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.support.waiting import PATIENCE

HERE = Path(__file__).parent
REVISIONS = ("2025-11-25", "2026-07-28")
SUITE = Path("@modelcontextprotocol", "conformance", "dist", "index.js")
# The scenarios of each revision that this server passes and an empty one does not.
SHOWN: dict[str, set[str]] = {
    "2025-11-25": {
        "completion-complete",
        "prompts-get-simple",
        "prompts-get-with-args",
        "resources-read-text",
        "resources-subscribe",
        "resources-templates-read",
        "resources-unsubscribe",
        "tools-call-elicitation",
        "tools-call-with-progress",
    },
    "2026-07-28": {
        "completion-complete",
        "http-header-validation",
        "input-required-result-basic-elicitation",
        "input-required-result-missing-input-response",
        "input-required-result-request-state",
        "input-required-result-result-type",
        "input-required-result-tampered-state",
        "input-required-result-validate-input",
        "prompts-get-simple",
        "prompts-get-with-args",
        "resources-read-text",
        "resources-templates-read",
        "tools-call-with-progress",
    },
}

Node = Callable[..., list[str]]


def _expected(revision: str) -> Path:
    return HERE / f"expected-failures.{revision}.yml"


@contextmanager
def _serving(folder: Path, kind: str) -> Iterator[str]:
    """Serve over HTTP on loopback until the block ends."""
    command = [sys.executable, "-m", "tests.peers.fixture_server", str(folder / f"state-{kind}"), kind]
    with (folder / f"{kind}.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=HERE.parents[1]
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        try:
            # A line, because another process may hold the pipe open.
            process.communicate("stop\n", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # It prints the stack of each thread.
            process.wait()
            pytest.fail((folder / f"{kind}.log").read_text(encoding="utf-8")[-8000:])
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def _passed(results: Path) -> set[str]:
    """Return the scenarios with at least one check and no failure or warning."""
    found = set()
    for checks in results.glob("*/checks.json"):
        states = [check["status"] for check in json.loads(checks.read_text(encoding="utf-8"))]
        if "SUCCESS" in states and not {"FAILURE", "WARNING"} & set(states):
            found.add(re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\d-]+Z$", "", checks.parent.name))
    return found


def _run(node: Node, node_modules: Path, url: str, revision: str, results: Path, *more: str | Path) -> tuple[int, str]:
    command = node(node_modules / SUITE, "server", "--url", url, "--requirements", revision, "-o", results, *more)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _serving(tmp_path_factory.mktemp("product"), "fixtures") as url:
        yield url


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _serving(tmp_path_factory.mktemp("empty"), "empty") as url:
        yield url


@pytest.mark.check
@pytest.mark.parametrize("revision", REVISIONS)
def test_suite_finds_only_the_explained_failures(
    node: Node, node_modules: Path, product: str, empty: str, revision: str, tmp_path: Path
) -> None:
    code, said = _run(
        node, node_modules, product, revision, tmp_path / "ours", "--expected-failures", _expected(revision)
    )
    assert code == 0, said
    _run(node, node_modules, empty, revision, tmp_path / "empty")
    ours, for_nothing = _passed(tmp_path / "ours"), _passed(tmp_path / "empty")
    assert ours - for_nothing == SHOWN[revision]


@pytest.mark.check
def test_obsolete_expected_failure_fails_the_suite(
    node: Node, node_modules: Path, product: str, tmp_path: Path
) -> None:
    stale = tmp_path / "stale.yml"
    stale.write_text(_expected("2025-11-25").read_text(encoding="utf-8") + "  - tools-list\n", encoding="utf-8")
    code, said = _run(node, node_modules, product, "2025-11-25", tmp_path / "out", "--expected-failures", stale)
    assert code == 1, said


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_expected_failure_has_an_explanation_above_it(revision: str) -> None:
    text = _expected(revision).read_text(encoding="utf-8")
    lines = text.splitlines()
    entries = [n for n, line in enumerate(lines) if line.startswith("  - ")]
    assert [lines[n].removeprefix("  - ") for n in entries] == yaml.safe_load(text)["server"]
    assert [lines[n] for n in entries if not re.fullmatch(r"  # \S.{20,}\.", lines[n - 1])] == []
