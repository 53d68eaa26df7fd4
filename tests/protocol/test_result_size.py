"""No result reaches the size that the output filter refuses, whatever it holds."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.protocol.result_size import MAX_RESULT, fits, fitted, line_cost, shortened

texts = st.sampled_from(['"', "\\", "x", "é", "\u4e2d", "\U0001f600", "\n", "\x7f"])
sizes = st.sampled_from([0, 1, 5, 60, 1_000, 5_000])
strings = st.builds(lambda text, size: text * size, texts, sizes)
fields = strings | st.lists(strings, max_size=2)
entries = st.dictionaries(st.sampled_from(["label", "status", "text", "links"]), fields)
lists = st.builds(lambda found, times: found * times, st.lists(entries, max_size=4), st.integers(1, 60))
outcomes = st.dictionaries(st.sampled_from(["cards", "waiting", "unresolved", "frozen"]), lists, max_size=4)
tried = settings(max_examples=40, deadline=None, database=None)


@tried
@given(outcome=outcomes)
def test_any_lists_are_shortened_until_they_fit(outcome: dict[str, Any]) -> None:
    outcome |= {"next_steps": [{"tool": "status", "why": "See."}], "total": 7}
    short, left = shortened(outcome)
    assert fits(short)
    assert list(short) == list(outcome)
    assert (short["next_steps"], short["total"]) == (outcome["next_steps"], 7)
    kept = sum(len(short[name]) for name in outcome if isinstance(outcome[name], list))
    assert left + kept == sum(len(found) for found in outcome.values() if isinstance(found, list))
    for name, found in short.items():
        if isinstance(found, list):
            rest = iter(outcome[name])
            assert all(any(entry is other for other in rest) for entry in found)


@tried
@given(outcome=outcomes)
def test_what_fits_loses_nothing(outcome: dict[str, Any]) -> None:
    if line_cost(outcome) <= MAX_RESULT // 5:
        assert shortened(outcome) == (outcome, 0)


@tried
@given(items=lists, room=st.integers(0, 50_000))
def test_the_first_entries_that_fit_are_kept(items: list[Any], room: int) -> None:
    kept = fitted(items, room)
    assert line_cost(kept) <= room + 6
    if kept != items:
        assert line_cost(items) + 2 * len(items) > room


def test_one_entry_that_is_too_long_by_itself_hides_no_other() -> None:
    small, large = {"label": "Food"}, {"label": "x" * MAX_RESULT}
    assert shortened({"cards": [small, large, small], "next_steps": []}) == (
        {"cards": [small, small], "next_steps": []},
        1,
    )
