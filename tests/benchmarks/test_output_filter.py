from __future__ import annotations

import pytest

from benchmarks import output_filter
from machines_mcp.redaction.output_filter import OutputFilter


@pytest.mark.parametrize("size", output_filter.SIZES)
def test_measured_line_has_its_size_and_kind(size: int) -> None:
    (innocent, once), (telling, told_once) = (output_filter.line(size, masked=masked) for masked in (False, True))
    for text in (innocent, telling):
        assert size * 1024 <= len(text) <= size * 1024 + 1200
    assert OutputFilter().filtered(innocent, read_once=once) == innocent
    assert (OutputFilter().filtered(telling, read_once=told_once) or telling) != telling


@pytest.mark.check
def test_every_size_is_measured_with_few_and_many_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert output_filter.main(["--runs", "2"]) == 0
    rows = [row for row in capsys.readouterr().out.splitlines() if row.startswith("| ")][2:]
    assert len(rows) == len(output_filter.SIZES) * len(output_filter.KNOWN) * 2
