"""The tables of docs/benchmarks.md match the stored figures."""

from __future__ import annotations

import json

from tests.docs.pages import ROOT, generator

PAGE = ROOT / "docs" / "benchmarks.md"
# Both servers have every quantity, except that the second has no calls.
SERVERS = {
    "ours": {"tools": 24, "start": {"value": 800.0}, "calls": {"value": 0.5}},
    "theirs": {"tools": 3, "start": {"value": 1600.0, "ratio": 2.0, "low": 1.9, "high": 2.1}},
}


def test_the_page_matches_the_stored_figures() -> None:
    assert generator("benchmarks_page").page() == PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_a_run_of_peers_shows_its_command_and_the_machines_load() -> None:
    figures = {"protocol": "2025-11-25", "runs": 3, "load": 7.25, "servers": SERVERS}
    run = {"command": "the command", "where": "a machine", "figures": figures}
    head, _, titles, _, ours, theirs, _, picture = generator("benchmarks_page").peers({"peers": run}).splitlines()
    assert head.startswith("`the command` on a machine; protocol 2025-11-25; 3 rounds; load average 7.2")
    assert titles.startswith("| server | tools | start to the first response, ms |")
    assert ours.startswith("| ours | 24 | 800 | — | 0.50 |")
    assert theirs.startswith("| theirs | 3 | 1,600 (2.00 x) | — | — |")
    assert picture.endswith("(pictures/benchmarks.png)")


def test_the_picture_exists_next_to_the_stored_runs() -> None:
    kept = json.loads((ROOT / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
    assert set(kept) == {"bare 2025-11-25", "bare 2026-07-28", "peers", "stages"}
    assert (ROOT / "docs" / "pictures" / "benchmarks.png").read_bytes().startswith(b"\x89PNG")
