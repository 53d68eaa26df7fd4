"""The audit page: calls in words, filtered, and a chart of daily payouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.responses import Response

from machines_mcp.desk.approval_view import TOOL_WORDS
from machines_mcp.desk.audit_story import Call, calls
from machines_mcp.desk.routing import PageRenderer, Route, SessionRequest
from machines_mcp.desk.spend_chart import build_chart
from machines_mcp.permissions.daily_totals import daily_totals
from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.redaction.display import utc_day

if TYPE_CHECKING:
    from machines_mcp.storage.audit_log import AuditRow

ROWS_PER_PAGE = 50
MAX_STEPS = 2_000
KINDS = {
    "call": "Calls",
    "outcome": "Outcomes",
    "approval_request": "Requests",
    "decision": "Decisions",
    "setting": "Settings",
    "alarm": "Alarms",
    "reveal": "Card numbers",
}
WIDE_DAYS, NARROW_DAYS = 14, 7


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """The filter. An empty part matches any row. `fault` says what is wrong with the day."""

    tool: str
    kind: str
    user: str
    day: str
    before: int | None
    everything: bool
    fault: str = ""

    @property
    def folded(self) -> bool:
        """Whether a call is one row, without reads. A filter by tool or kind shows each row."""
        return not (self.everything or self.tool or self.kind)

    def url(self, **changes: object) -> str:
        """Return the URL of these rows, with changes."""
        given = {"tool": self.tool, "kind": self.kind, "user": self.user, "day": self.day, "before": self.before}
        given["everything"] = "1" if self.everything else ""
        kept = {name: str(value) for name, value in (given | changes).items() if value}
        return "/audit" + (f"?{urlencode(kept)}" if kept else "")


class AuditPage:
    """Serves the audit page."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer
        self._guard = renderer.dependencies.guard
        named = {tool: words.kind for tool, words in TOOL_WORDS.items()}
        self._titles = {**renderer.dependencies.titles, **named}

    def routes(self) -> list[Route]:
        """Return the route of the audit page."""
        return [Route(re.compile("/audit"), get=self.show)]

    async def show(self, request: SessionRequest) -> Response:
        """Show the newest rows that match the filter."""
        audit_filter = _parse_filter(request.http_request.query_params)
        rows = [] if audit_filter.fault else await self._rows(audit_filter)
        more = len(rows) > ROWS_PER_PAGE
        now = self._renderer.dependencies.clock()
        spent = await self._guard.store.read(lambda db: daily_totals(db, self._guard.principal, now, WIDE_DAYS))
        cap = self._guard.policy.limits.per_day_cents
        return self._renderer.page(
            request,
            "audit",
            422 if audit_filter.fault else 200,
            audit_filter=audit_filter,
            calls=await self._calls(audit_filter, rows[:ROWS_PER_PAGE]),
            older=audit_filter.url(before=rows[ROWS_PER_PAGE - 1].seq) if more else "",
            newest=audit_filter.url(before=None) if audit_filter.before else "",
            kinds=KINDS,
            tools=sorted(self._titles.items(), key=lambda named: named[1].lower()),
            charts=(
                ("broad", build_chart(spent, cap, width=720, height=220)),
                ("slim", build_chart(spent[-NARROW_DAYS:], cap, width=340, height=220)),
            ),
            days=spent[::-1],
            cap=cap,
            today=utc_day(now),
        )

    async def _calls(self, audit_filter: AuditFilter, rows: list[AuditRow]) -> list[Call]:
        """Return the calls of these rows. If they are folded, add the earlier rows of their approvals."""
        if not audit_filter.folded:
            return [call for row in rows for call in calls([row], self._titles)]
        named = [row.approval_id for row in rows if isinstance(row.approval_id, str)]
        whole = await self._guard.audit.rows(self._guard.principal, limit=MAX_STEPS, approvals=named) if named else []
        return calls({row.seq: row for row in (*rows, *whole)}.values(), self._titles)

    async def _rows(self, audit_filter: AuditFilter) -> list[AuditRow]:
        begins = (
            None if not audit_filter.day else datetime.fromisoformat(audit_filter.day).replace(tzinfo=UTC).timestamp()
        )
        return await self._guard.audit.rows(
            self._guard.principal,
            before=audit_filter.before,
            limit=ROWS_PER_PAGE + 1,
            tool=audit_filter.tool or None,
            kind=audit_filter.kind or None,
            user_id=audit_filter.user or None,
            since=begins,
            until=None if begins is None else begins + DAY_SECONDS,
            newest_first=True,
            folded=audit_filter.folded,
        )


def _parse_filter(query: QueryParams) -> AuditFilter:
    before, day = query.get("before", ""), query.get("day", "").strip()
    fault = ""
    if day:
        try:
            if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
                raise ValueError
            datetime.fromisoformat(day)
        except ValueError:
            fault = "Enter a valid day, as YYYY-MM-DD."
    kind = query.get("kind", "")
    return AuditFilter(
        tool=query.get("tool", "")[:60],
        kind=kind if kind in KINDS else "",
        user=query.get("user", "").strip()[:120],
        day=day[:10],
        everything=query.get("everything", "") == "1",
        before=int(before) if re.fullmatch(r"[1-9][0-9]{0,17}", before) else None,
        fault=fault,
    )
