"""The audit page: filtered rows in words, and a chart of daily payouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.responses import Response

from machines_mcp.desk.routing import PageRenderer, Route, SessionRequest
from machines_mcp.desk.spend_chart import build_chart
from machines_mcp.permissions.daily_totals import daily_totals
from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.redaction.display import utc_day
from machines_mcp.storage.audit_log import Kind

if TYPE_CHECKING:
    from machines_mcp.storage.audit_log import AuditRow

ROWS_PER_PAGE = 50
KINDS: tuple[str, ...] = get_args(Kind)
WIDE_DAYS, NARROW_DAYS = 14, 7

_EVENTS = {
    "approval_request": "Approval requested",
    "alarm": "Alarm",
    "reveal": "Card shown",
    "setting": "Setting changed",
}
_VERDICTS = {
    "granted": "Approved",
    "refused": "Refused",
    "executing": "Run",
    "done": "Done",
    "failed": "Failed",
    "wrong": "Wrong passphrase",
    "not_begun": "Not started",
}
# The code of a call that did not run now, but was not refused either: see `permissions.authorizer.Verdict`.
_OPEN_CALLS = {
    "waiting": "Waiting for approval",
    "repeat": "Outcome repeated",
    "running": "Still running",
    "later": "Outcome not known yet",
    "interrupted": "Outcome not known yet",
    "needs_person": "A person must resolve it",
}
_BAD = ("Refused", "Failed", "Wrong passphrase", "Alarm", "Not done")
_GOOD = ("Approved", "Done")


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """The filter. An empty part matches any row. `fault` says what is wrong with the day."""

    tool: str
    kind: str
    user: str
    day: str
    before: int | None
    fault: str = ""

    def url(self, **changes: object) -> str:
        """Return the URL of these rows, with changes."""
        given = {"tool": self.tool, "kind": self.kind, "user": self.user, "day": self.day, "before": self.before}
        kept = {name: str(value) for name, value in (given | changes).items() if value}
        return "/audit" + (f"?{urlencode(kept)}" if kept else "")


@dataclass(frozen=True, slots=True)
class AuditRowView:
    """An audit row in words."""

    row: AuditRow
    event: str
    tone: str
    detail: str


class AuditPage:
    """Serves the audit page."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer
        self._guard = renderer.dependencies.guard

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
            rows=[_view(row) for row in rows[:ROWS_PER_PAGE]],
            older=audit_filter.url(before=rows[ROWS_PER_PAGE - 1].seq) if more else "",
            newest=audit_filter.url(before=None) if audit_filter.before else "",
            kinds=KINDS,
            tools=sorted(self._renderer.dependencies.titles),
            charts=(
                ("broad", build_chart(spent, cap, width=720, height=220)),
                ("slim", build_chart(spent[-NARROW_DAYS:], cap, width=340, height=220)),
            ),
            days=spent[::-1],
            cap=cap,
            today=utc_day(now),
        )

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
        before=int(before) if re.fullmatch(r"[1-9][0-9]{0,17}", before) else None,
        fault=fault,
    )


def _view(row: AuditRow) -> AuditRowView:
    """Describe a row. A tampered row can contain anything, so no value is trusted to have its type."""
    event, is_call = _EVENTS.get(str(row.kind)), row.kind == "call" and row.verdict is None
    if is_call and row.code in _OPEN_CALLS:
        return AuditRowView(row, _OPEN_CALLS[row.code], "", "")
    if event is None:
        refused = is_call and row.code not in (None, "ok")
        event = _VERDICTS.get(str(row.verdict)) or (
            "Not done" if refused else "Read" if row.action_class == "read" else "Called"
        )
    tone = "bad" if event in _BAD else "good" if event in _GOOD else ""
    detail = str(row.code) if row.code not in (None, "ok") else ""
    return AuditRowView(row, event, tone, detail)
