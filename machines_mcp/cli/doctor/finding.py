"""The result of one check of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it passed, its name, and what was found or how to fix it; `detail` is for programs."""

    ok: bool
    check: str
    message: str
    detail: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON."""
        return {"ok": self.ok, "what": self.check, "says": self.message} | self.detail


def verdict(findings: Sequence[Finding]) -> str:
    """Return one line that says whether the server is ready, and which checks failed."""
    failed = list(dict.fromkeys(finding.check for finding in findings if not finding.ok))
    if not failed:
        return f"Ready: all {len(findings)} checks passed."
    count = sum(not finding.ok for finding in findings)
    return f"Not ready: {count} of {len(findings)} checks failed ({', '.join(failed)})."
