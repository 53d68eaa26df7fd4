"""The audit page: filtered rows in words, and a chart of daily payouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.responses import Response

from machines_mcp.desk.routing import PageRenderer, Place, Visit
from machines_mcp.desk.spend_chart import chart
from machines_mcp.permissions.daily_totals import daily_totals
from machines_mcp.permissions.limits import DAY_SECONDS
from machines_mcp.storage.audit_log import Kind

if TYPE_CHECKING:
    from machines_mcp.storage.audit_log import AuditRow

PAGE_ROWS = 50
KINDS: tuple[str, ...] = get_args(Kind)
WIDE_DAYS, NARROW_DAYS = 14, 7

_VERDICTS = {
    "granted": "Approved",
    "refused": "Refused",
    "executing": "Run",
    "done": "Done",
    "failed": "Failed",
    "wrong": "Wrong passphrase",
    "not_begun": "Not started",
}
_BAD = ("Refused", "Failed", "Wrong passphrase", "Alarm", "Not done")
_GOOD = ("Approved", "Done")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filter. An empty part matches any row. `fault` says what is wrong with the day."""

    tool: str
    kind: str
    user: str
    day: str
    before: int | None
    fault: str = ""

    def query(self, **changes: object) -> str:
        """Return the URL of these rows, with changes."""
        given = {"tool": self.tool, "kind": self.kind, "user": self.user, "day": self.day, "before": self.before}
        kept = {name: str(value) for name, value in (given | changes).items() if value}
        return "/audit" + (f"?{urlencode(kept)}" if kept else "")


@dataclass(frozen=True, slots=True)
class Line:
    """An audit row in words."""

    row: AuditRow
    what: str
    tone: str
    detail: str


class AuditPage:
    """Serves the audit page."""

    def __init__(self, front: PageRenderer) -> None:
        self._front = front
        self._guard = front.dependencies.guard

    def places(self) -> list[Place]:
        """Return the route of the audit page."""
        return [Place(re.compile("/audit"), look=self.show)]

    async def show(self, visit: Visit) -> Response:
        """Show the newest rows that match the filter."""
        wanted = _wanted(visit.request.query_params)
        rows = [] if wanted.fault else await self._rows(wanted)
        more = len(rows) > PAGE_ROWS
        now = self._front.dependencies.clock()
        spent = await self._guard.store.read(lambda db: daily_totals(db, now, WIDE_DAYS))
        cap = self._guard.policy.limits.per_day_cents
        return self._front.page(
            visit,
            "audit",
            422 if wanted.fault else 200,
            wanted=wanted,
            lines=[_line(row) for row in rows[:PAGE_ROWS]],
            older=wanted.query(before=rows[PAGE_ROWS - 1].seq) if more else "",
            newest=wanted.query(before=None) if wanted.before else "",
            kinds=KINDS,
            tools=sorted(self._front.dependencies.titles),
            charts=(
                ("broad", chart(spent, cap, width=720, height=220)),
                ("slim", chart(spent[-NARROW_DAYS:], cap, width=340, height=220)),
            ),
            days=spent[::-1],
            cap=cap,
            today=self._front.templates.day(now),
        )

    async def _rows(self, wanted: Wanted) -> list[AuditRow]:
        begins = None if not wanted.day else datetime.fromisoformat(wanted.day).replace(tzinfo=UTC).timestamp()
        return await self._guard.audit.rows(
            before=wanted.before,
            limit=PAGE_ROWS + 1,
            tool=wanted.tool or None,
            kind=wanted.kind or None,
            user_id=wanted.user or None,
            since=begins,
            until=None if begins is None else begins + DAY_SECONDS,
            newest_first=True,
        )


def _wanted(query: QueryParams) -> Wanted:
    before, day = query.get("before", ""), query.get("day", "").strip()
    fault = ""
    if day:
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day):
                raise ValueError
            datetime.fromisoformat(day)
        except ValueError:
            fault = "Enter a valid day, as YYYY-MM-DD."
    kind = query.get("kind", "")
    return Wanted(
        tool=query.get("tool", "")[:60],
        kind=kind if kind in KINDS else "",
        user=query.get("user", "").strip()[:120],
        day=day[:10],
        before=int(before) if re.fullmatch(r"[1-9][0-9]{0,17}", before) else None,
        fault=fault,
    )


def _line(row: AuditRow) -> Line:
    """Describe a row. A tampered row can contain anything, so no value is trusted to have its type."""
    what = {"asked": "Approval requested", "alarm": "Alarm", "reveal": "Card shown", "setting": "Setting changed"}.get(
        str(row.kind)
    )
    if what is None:
        refused = row.kind == "call" and row.verdict is None and row.code not in (None, "ok")
        what = _VERDICTS.get(str(row.verdict)) or (
            "Not done" if refused else "Read" if row.action_class == "read" else "Called"
        )
    tone = "bad" if what in _BAD else "good" if what in _GOOD else ""
    detail = str(row.code) if row.code not in (None, "ok") else ""
    return Line(row, what, tone, detail)
