"""The tables of docs/evals.md match the stored figures, which show what the page promises."""

from __future__ import annotations

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


def test_the_page_says_that_no_model_was_run() -> None:
    assert "No model was run here" in PAGE.read_text(encoding="utf-8")
