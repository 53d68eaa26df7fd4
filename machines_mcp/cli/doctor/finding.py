"""The result of one check of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it passed, its name, and what was found or how to fix it; `detail` is for programs.

    `warning`: the server works, but a protection is missing.
    """

    ok: bool
    check: str
    message: str
    detail: dict[str, Any] = field(default_factory=dict)
    warning: bool = False

    @property
    def mark(self) -> str:
        """Return the result as a word of at most four letters."""
        return "FAIL" if not self.ok else "WARN" if self.warning else "ok"

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON."""
        return {"ok": self.ok, "what": self.check, "says": self.message} | self.detail


def verdict(findings: Sequence[Finding]) -> str:
    """Return one line that says whether the server is ready, and which checks failed."""
    failed = list(dict.fromkeys(finding.check for finding in findings if not finding.ok))
    if not failed:
        warnings = [finding.check for finding in findings if finding.warning]
        if not warnings:
            return f"Ready: all {len(findings)} checks passed."
        return f"Ready, with {len(warnings)} warning{'s' * (len(warnings) > 1)} ({', '.join(dict.fromkeys(warnings))})."
    count = sum(not finding.ok for finding in findings)
    return f"Not ready: {count} of {len(findings)} checks failed ({', '.join(failed)})."
