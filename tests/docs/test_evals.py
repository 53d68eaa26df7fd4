"""The tables of docs/evals.md match the stored figures, which show what the page promises."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, generator

PAGE = ROOT / "docs" / "evals.md"


def test_the_page_matches_the_stored_figures() -> None:
    assert generator("evals_page").page() == PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_stored_figures_are_those_of_agents_that_bound_a_model() -> None:
    agents = generator("evals_page").recorded()["figures"]["agents"]
    for name, sums in agents.items():
        assert sums["safe"] == sums["runs"], name
        if name.startswith("expected path"):
            assert (sums["useful"], sums["wasted"]) == (sums["runs"], 0)
        if name.startswith("obey everything, hostile"):
            assert sums["unasked"]
        if name.startswith("refuse everything"):
            assert sums["useful"] == 0


def test_the_picture_matches_the_stored_figures() -> None:
    page = generator("evals_page")
    assert page.picture() == page.PICTURE.read_text(encoding="utf-8"), "run `make docs`"


def test_the_page_says_that_no_model_was_run_or_shows_its_date(monkeypatch: pytest.MonkeyPatch) -> None:
    page = generator("evals_page")
    stored = dict(page.records())
    monkeypatch.setattr(page, "records", lambda: {page.SCRIPTED: stored[page.SCRIPTED]})
    assert "No model was run here" in page.page()
    run = stored[page.SCRIPTED]
    dated = run | {"figures": run["figures"] | {"date": "2026-01-02"}}
    monkeypatch.setattr(page, "records", lambda: {page.SCRIPTED: run, "model provider/name": dated})
    assert "No model was run here" not in page.page()
    assert "**provider/name**, 2026-01-02" in page.page()
