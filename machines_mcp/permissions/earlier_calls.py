"""An equal call that made something a short time ago, so that nobody makes a second one by mistake."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Detail, EarlierCall
from machines_mcp.redaction.display import ago

if TYPE_CHECKING:
    import sqlite3

RECENT_SECONDS = 60 * 60
"""For how long a person and a model are told of an equal call."""
_SECOND = " This would be a second one: the same {} was made before."
_UNKNOWN = " The same {} was requested before, and it may exist."


def noting_earlier(
    db: sqlite3.Connection, call_request: CallRequest, details: ApprovalDetails, now: float
) -> ApprovalDetails:
    """Return the details with the newest equal call that ran or runs, if what the call makes was made recently."""
    what = call_request.makes
    earlier = _earlier_call(db, call_request, now) if what else None
    if earlier is None:
        return details
    question = details.question + (_SECOND if earlier.done else _UNKNOWN).format(what)
    row = Detail("Again", said(earlier, now), f"approving makes a second {what}")
    return replace(details, question=question, context=(row, *details.context), earlier=earlier)


def said(earlier: EarlierCall, now: float) -> str:
    """Return in a clause what the earlier call did, and when. `now` is in epoch seconds."""
    when = ago(now - earlier.at)
    if earlier.done:
        return f"the same {earlier.what} was made {when}"
    return f"the same {earlier.what} was requested {when}, and it is not known yet whether it was made"


def _earlier_call(db: sqlite3.Connection, call_request: CallRequest, now: float) -> EarlierCall | None:
    row = db.execute(
        "SELECT id, coalesce(started_at, created_at), state FROM approvals WHERE user_id = ? AND created_at >= ?"
        " AND tool = ? AND digest = ? AND state IN ('done', 'executing') ORDER BY created_at DESC LIMIT 1",
        (call_request.user_id, now - RECENT_SECONDS, call_request.tool, call_request.digest),
    ).fetchone()
    return None if row is None else EarlierCall(row[0], call_request.makes, float(row[1]), done=row[2] == "done")
