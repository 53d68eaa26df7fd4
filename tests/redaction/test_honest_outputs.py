"""Honest responses raise no alarm: no line is withheld and no value is masked."""

from __future__ import annotations

import os

import pytest

from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from tests.support.honest_outputs import HonestOutputs


def altered(lines: int, seed: int) -> list[str]:
    """Return the honest lines that the output filter would change, of so many lines."""
    raised: list[str] = []
    output_filter, outputs = OutputFilter(raised.append), HonestOutputs(seed)
    for secret in ("pk_live_Qw7rT2pLx9Vb4Nc8Kd1Z", "mst_9Qw7rT2pLx9Vb4Nc8Kd1Z77"):
        output_filter.add_secret(Secret(secret))
    found = []
    for number in range(lines):
        line, exempt = outputs.line(number)
        if output_filter.filtered(line, frozenset(exempt)) != line:
            found.append(line)
    assert raised == []
    return found


def test_two_thousand_honest_lines_are_sent_unchanged() -> None:
    assert altered(2_000, 1) == []


@pytest.mark.check
@pytest.mark.long
def test_a_hundred_thousand_honest_lines_are_sent_unchanged() -> None:
    lines = int(os.environ.get("HONEST_LINES", "100000"))
    assert altered(lines, 20261122) == []
