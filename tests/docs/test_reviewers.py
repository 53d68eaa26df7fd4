"""The tables of docs/reviewers.md match the records that they are made from."""

from __future__ import annotations

from tests.docs.pages import ROOT, generator

PAGE = ROOT / "docs" / "reviewers.md"


def test_tables_match_the_records() -> None:
    assert generator("reviewers_page").page() == PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_every_failure_of_the_conformance_suite_has_its_reason() -> None:
    made = generator("reviewers_page").failures()

    for revision in ("2025-11-25", "2026-07-28"):
        text = (ROOT / "tests" / "peers" / f"expected-failures.{revision}.yml").read_text(encoding="utf-8")
        scenarios = [line.removeprefix("  - ") for line in text.splitlines() if line.startswith("  - ")]
        assert scenarios
        for scenario in scenarios:
            assert f"| `{scenario}` | " in made
