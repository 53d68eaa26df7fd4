"""The recorded reports of the scanners, and the reasons for what they object to."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.reviewers.scanners import Report

ROOT: Final = Path(__file__).parents[2]
RECORD: Final = ROOT / "docs" / "reviewers.json"
EXPLAINED: Final = Path(__file__).with_name("explained.toml")


def as_data(report: Report) -> dict[str, Any]:
    """Return a report with the tools of each rule."""
    rules: dict[str, list[str]] = {}
    for finding in report.findings:
        rules.setdefault(finding.rule, []).append(finding.tool)
    return {"checked": report.checked, "rules": rules}


def recorded() -> dict[str, Any]:
    """Return the recorded reports by scanner."""
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def explained() -> dict[str, dict[str, Any]]:
    """Return the reasons by scanner and rule."""
    return tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))


def without_reason(name: str, rules: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what a scanner objects to for no reason that is known, as `rule tool`."""
    reasons = explained().get(name, {})
    return [
        f"{rule} {tool}".strip()
        for rule, tools in rules.items()
        for tool in tools
        if rule not in reasons or tool not in reasons[rule].get("tools", [tool])
    ]
