"""The tables of docs/reliability.md match the stored figures, and its prose states no figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.record import keep, kept
from tests.docs.pages import ROOT, generator

PAGE = ROOT / "docs" / "reliability.md"
_MADE = re.compile(r"<!-- (\w+): made by `make docs` -->\n.*?<!-- /\1 -->", re.DOTALL)
_FIGURE = re.compile(r"\b(?:\d[\d,.]*|no|zero)\s+(?:\w+\s+)?(?:kills?|runs?|seeds?|lost|doubled|leaked|wishes)\b")


def test_the_page_matches_the_stored_figures() -> None:
    assert generator("reliability_page").page() == PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_the_prose_states_no_figures() -> None:
    prose = _MADE.sub("", PAGE.read_text(encoding="utf-8"))
    assert len(_MADE.findall(PAGE.read_text(encoding="utf-8"))) == 4
    assert _FIGURE.findall(prose) == []
    assert _FIGURE.findall("3,000 kills, 0 lost and no doubled one") == ["3,000 kills", "0 lost", "no doubled"]


@pytest.mark.parametrize(("count", "shown"), [(0, "0 (< 0.1 %)"), (7, "**7**")])
def test_a_zero_shows_its_bound_and_other_counts_are_bold(count: int, shown: str) -> None:
    figures = dict.fromkeys(("lost", "doubled", "denied", "wrong", "unsettled", "leaked", "wishes", "crossed"), 1)
    figures |= {"kills": 3000, "lost": count, "manual": 2, "drained": 4, "unsettled": 0}
    run = {"command": "c", "where": "w", "figures": figures}
    row = generator("reliability_page").crashes({"crashes": run}).splitlines()[2]
    assert row.split(" | ")[:5] == ["| any moment", "3,000", "1", "1", shown]


def test_runs_that_differ_only_in_their_seed_share_a_row() -> None:
    names = ("crashes, seed 1", "crashes, seed 2", "crashes, no journal, naive client, seed 1")
    counts = ("kills", "wishes", "crossed", "lost", "doubled", "denied", "wrong", "unsettled", "leaked", "manual")
    figures = [dict.fromkeys(counts, 0) | {"drained": 4} | more for more in (
        {"kills": 1000, "wishes": 5, "manual": 2}, {"kills": 2000, "crossed": 7}, {"kills": 30, "doubled": 9},
    )]  # fmt: skip
    runs = {name: {"command": name, "where": "w", "figures": each} for name, each in zip(names, figures, strict=True)}
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in generator("reliability_page").crashes(runs).splitlines()[2:4]
    ]
    assert [row[:4] + row[-1:] for row in rows] == [
        ["any moment", "3,000", "5", "7", "2"],
        ["no journal, naive client", "30", "0", "0", "0"],
    ]
    assert [row[5] for row in rows] == ["0 (< 0.1 %)", "**9**"]


def test_a_run_replaces_the_previous_one_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "runs.json"
    assert kept(file) == {}
    keep(file, "crashes", "first", {"kills": 1})
    keep(file, "soak", "other", {"calls": 2})
    keep(file, "crashes", "second", {"kills": 3})
    assert {name: (run["command"], run["figures"]) for name, run in kept(file).items()} == {
        "crashes": ("second", {"kills": 3}),
        "soak": ("other", {"calls": 2}),
    }
