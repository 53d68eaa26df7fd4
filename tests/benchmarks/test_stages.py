"""The table of stages: what a call's time is counted for."""

from __future__ import annotations

from pathlib import Path

import pytest

import machines_mcp
from benchmarks.stages import OTHER, STAGES, as_table, measured
from benchmarks.wire import ERAS, Era

pytestmark = pytest.mark.anyio
PACKAGE = Path(machines_mcp.__file__).parent


@pytest.mark.parametrize("era", ERAS)
async def test_every_stage_of_a_call_is_counted(era: Era) -> None:
    call, stages = await measured(era, 0.5)
    assert list(stages) == [*STAGES, OTHER]
    assert sum(stages.values()) == pytest.approx(call)
    assert all(stages[stage] > 0 for stage in STAGES)


def test_every_place_exists() -> None:
    for places in STAGES.values():
        for place in places:
            own = PACKAGE / (place if place.endswith("/") else f"{place}.py")
            assert own.exists() or place in ("anyio/", "mcp/", "mcp_types/"), place


def test_the_table_has_a_row_for_each_stage() -> None:
    eras = {era: {"call": 200.0, "stages": dict.fromkeys((*STAGES, OTHER), 25.0)} for era in ERAS}
    head, _, first, *_, last = as_table({"eras": eras}).splitlines()
    assert head == "| stage, microseconds | 2025-11-25 | 2026-07-28 |"
    assert first == "| read the line, give it a task | 25 | 25 |"
    assert last == "| **a call** | **200** | **200** |"
