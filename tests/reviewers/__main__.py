"""Run the scanners and record what they say: `python -m tests.reviewers`. `make docs` writes the page from it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import anyio

from tests.reviewers.installation import lists, programs
from tests.reviewers.recorded import RECORD, as_data, without_reason
from tests.reviewers.scanners import SCANNERS, Scanners

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        scanners, seen = Scanners(programs(home / "venv"), home), anyio.run(lists, home)
        reports = {name: run(scanners, seen) for name, run in SCANNERS.items()}
    data = {name: as_data(report) for name, report in reports.items()}
    for name, report in data.items():
        for finding in without_reason(name, report["rules"]):
            print(f"{name}: {finding} has no reason in explained.toml")
    RECORD.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
