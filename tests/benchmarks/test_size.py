"""The benchmark by size: its rows, their owners, and its verdict on growth."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from benchmarks.fill import fill
from benchmarks.measure import Samples
from benchmarks.size import Filled, prepare, table
from benchmarks.upstream import USER, Sandbox
from tests.support.waiting import PATIENCE


@pytest.mark.check
def test_filled_sandbox_serves_each_user_only_their_rows(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.db"
    with Sandbox("--db", str(file)) as sandbox, httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        bearer = {"Authorization": f"Bearer {prepare(client, sandbox)}"}
        fill(file, USER, own=5, others=120)

        def data(path: str) -> dict[str, list[object]]:
            reply = client.get(sandbox.base_url + path, headers=bearer)
            return reply.raise_for_status().json()["data"]

        assert len(data("/cards")["cards"]) == 5
        assert len(data("/deposits?scope=all")["deposits"]) == 5
        assert len(data("/deposits")["deposits"]) == 1
        assert len(data("/transactions?type=spend")["transactions"]) == 5
        control = client.get(sandbox.control_url).raise_for_status().json()["data"]
        assert len(control["users"]) + control["leftOff"] == 101


def test_growth_with_the_rows_is_reported_as_not_flat() -> None:
    small = Filled(10, {}, {"steady": Samples([[1.0, 2.0]]), "growing": Samples([[1.0, 2.0]])})
    large = Filled(1_000, {}, {"steady": Samples([[1.1, 9.0]]), "growing": Samples([[1.3, 2.0]])})
    _, steady, growing = table([small, large]).splitlines()
    assert steady.split() == ["steady", "1.00", "1.10"]
    assert growing.split() == ["growing", "1.00", "1.30", "not", "flat"]
