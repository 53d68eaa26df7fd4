"""The result of one check of the doctor."""

from __future__ import annotations

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
