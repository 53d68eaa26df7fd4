"""The cancellation benchmark: it sees a cancelled wait end at the upstream's sockets, and rejects one that does not
end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks import cancel
from benchmarks.cancel import HoldingUpstream, measure_cancellation
from benchmarks.measure import Samples
from benchmarks.report import as_table, cancellation_rows
from benchmarks.wire import ERAS, BenchmarkError, Command, Era

ROOT = Path(__file__).parents[2]

# A server whose calls poll twice. `on_cancel` is its reaction when the client cancels its nth call.
SERVER = """
import http.client, json, os, sys
from urllib.parse import urlsplit
url = urlsplit(os.environ["MACHINES_API_URL"])
def ask():
    connection = http.client.HTTPConnection(url.netloc)
    connection.request("GET", url.path + "/kyc/status")
    return connection
n = 0
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "tools/call":
        n += 1
        ask().getresponse().read()
        poll = ask()
    elif "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}), flush=True)
    elif message["method"] == "notifications/cancelled":
        ON_CANCEL
"""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "CANCELS_A_ROUND", 2)


def _command(home: Path, upstream: HoldingUpstream, *arguments: str) -> Command:
    environment = {
        "PATH": os.defpath,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "MACHINES_STATE_DIR": str(home / "state"),
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": upstream.base_url,
        "MACHINES_PARTNER_KEY": "key-of-nothing",
        "MACHINES_USER_ID": "user-1",
    }
    return Command("a server", (sys.executable, *arguments), environment)


def _scripted(home: Path, upstream: HoldingUpstream, on_cancel: str) -> Command:
    return _command(home, upstream, "-c", SERVER.replace("ON_CANCEL", on_cancel))


@pytest.mark.parametrize("era", ERAS)
def test_cancelled_wait_of_the_server_ends(era: Era, tmp_path: Path) -> None:
    with HoldingUpstream() as upstream:
        taken = measure_cancellation(_command(tmp_path, upstream, "-m", "machines_mcp"), upstream, era, runs=1)
    assert [len(values) for values in taken.rounds] == [2]
    # Far shorter than the wait itself, and longer than any machine needs.
    assert min(taken.rounds[0]) > 0
    assert max(taken.rounds[0]) < 10_000


def test_wait_that_closes_its_poll_is_measured(tmp_path: Path) -> None:
    with HoldingUpstream() as upstream:
        taken = measure_cancellation(_scripted(tmp_path, upstream, "poll.close()"), upstream, ERAS[0], runs=1)
    assert min(taken.rounds[0]) > 0


@pytest.mark.parametrize(
    ("on_cancel", "complaint"),
    [("pass", "did not stop"), ("poll.close(); n == 4 and ask()", "kept polling")],
)
def test_wait_that_does_not_end_gives_no_figure(
    on_cancel: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel, "PATIENCE_SECONDS", 2.0)
    with HoldingUpstream() as upstream, pytest.raises(BenchmarkError, match=complaint):
        measure_cancellation(_scripted(tmp_path, upstream, on_cancel), upstream, ERAS[0], runs=1)


@pytest.mark.parametrize(("slowest", "verdict"), [(100.0, "met"), (101.0, "missed")])
def test_slowest_of_a_hundred_must_end_within_a_tenth_of_a_second(slowest: float, verdict: str) -> None:
    rows = cancellation_rows(Samples([[2.0] * 49, [4.0] * 50 + [slowest]]))
    assert [row.ours for row in rows] == [4.0, slowest]
    assert (rows[0].low, rows[0].high, rows[0].met) == (2.0, 4.0, None)
    last = as_table(rows).splitlines()[-1]
    assert last.split("|")[4].strip() == ""
    assert last.split("|")[-2].strip() == verdict
