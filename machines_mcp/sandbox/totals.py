"""Running totals of a user's posted entries, so that the cost of a balance does not grow with their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from machines_mcp.sandbox.state import State


@dataclass(frozen=True)
class Totals:
    """Sums in cents at one moment: collateral, pending charges and posted charges."""

    collateral: int
    pending_charges: int
    posted_charges: int


# At most two rows: posted entries, and entries that exist but have not posted.
_SINCE: Final = """
SELECT posts_at <= :now AS posted, max(posts_at) AS until,
    coalesce(sum(amount_cents) FILTER (WHERE NOT declined AND type = 'collateral'), 0) AS collateral,
    coalesce(sum(amount_cents) FILTER (WHERE NOT declined AND type IN ('spend', 'fee')), 0) AS charges
FROM entries WHERE user_id = :user_id AND posts_at > :since AND created_at <= :now GROUP BY 1
"""


def totals_at(state: State, user_id: str, now: float) -> Totals:
    """Return the user's totals at `now`: the stored totals plus later entries. Store the posted ones.

    If the clock was set back, stored totals from after `now` are ignored, and all entries are summed again.
    """
    kept = state.row("SELECT * FROM totals WHERE user_id = ? AND settled_at <= ?", user_id, now)
    since, collateral, posted = (kept["settled_at"], kept["collateral"], kept["charges"]) if kept else (0.0, 0, 0)
    values = {"user_id": user_id, "since": since, "now": now}
    later = {bool(row["posted"]): row for row in state.db.execute(_SINCE, values)}
    if (settled := later.get(True)) is not None:
        collateral, posted = collateral + settled["collateral"], posted + settled["charges"]
        state.db.execute(
            "INSERT OR REPLACE INTO totals (user_id, settled_at, collateral, charges) VALUES (?, ?, ?, ?)",
            (user_id, settled["until"], collateral, posted),
        )
    if (waiting := later.get(False)) is None:
        return Totals(collateral, 0, posted)
    return Totals(collateral + waiting["collateral"], waiting["charges"], posted)
