"""Audit rows in the words of the person who approves: one line for each call, with its steps.

A tampered row can contain anything, so no value is trusted to have its type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.desk.approval_view import TOOL_WORDS

if TYPE_CHECKING:
    from machines_mcp.storage.audit_log import AuditRow

_REVEALS = {
    "verified": "Card verified, shown nowhere",
    "shown": "Card shown",
    "sealed": "Card encrypted to the operator's key",
    "released": "Card given to the model",
}
# Why no card was shown although nothing broke. The page was opened by nobody, or a person closed it.
_PAGES = {
    "page.unused": "Page not opened",
    "page.left": "Page closed before the card was shown",
    "page.refused": "Refused",
    "page.expired": "Page expired",
    "page.withdrawn": "Withdrawn",
}
_VERDICTS = {
    "granted": "Approved",
    "refused": "Refused",
    "withdrawn": "Withdrawn",
    "executing": "Started",
    "done": "Done",
    "failed": "Failed",
    "wrong": "Wrong passphrase",
    "not_begun": "Not started",
    "happened": "It happened, says a person",
    "not_happened": "It did not happen, says a person",
}
# The code of a call that did not run now, but was not refused either: see `permissions.authorizer.Verdict`.
_OPEN_CALLS = {
    "waiting": "Waiting for approval",
    "withdrawn": "Withdrawn",
    "repeat": "Outcome repeated",
    "running": "Still running",
    "later": "Outcome not known yet",
    "interrupted": "Outcome not known yet",
    "needs_person": "A person must resolve it",
}
_BAD = ("Refused", "Failed", "Wrong passphrase", "Alarm", "Not done")
_GOOD = ("Approved", "Done", "Card shown")
_OTHERS = {"alarm": "Alarm", "approval_request": "Approval requested"}
_SUBJECTS = {"alarm": "Safeguards", "setting": "Settings"}
_SETTINGS = {
    "frozen": "Changes frozen",
    "unfrozen": "Freeze lifted",
    "pruned": "Old reads deleted",
    "forgotten": "User erased",
    "passphrase": "Passphrase set",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One row in words."""

    row: AuditRow
    event: str
    tone: str
    detail: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call, or one event that belongs to none: its steps, oldest first. `told` is the step that says how it ended.

    `what` names it in the approver's words; empty if the event says enough.
    """

    steps: tuple[Step, ...]
    told: Step
    what: str

    @property
    def newest(self) -> AuditRow:
        """The last row, by which calls are ordered."""
        return self.steps[-1].row

    def value(self, name: str) -> object:
        """Return the last value of this name in its rows."""
        values = (getattr(step.row, name) for step in reversed(self.steps))
        return next((value for value in values if value is not None), None)


def calls(found: Iterable[AuditRow], titles: Mapping[str, str]) -> list[Call]:
    """Return the calls of these rows, the newest first.

    Rows of an approval are one call. Without one, a call's rows are those of its user and tool up to its outcome.
    """
    groups: list[list[AuditRow]] = []
    of_approval: dict[object, list[AuditRow]] = {}
    running: dict[tuple[object, object], list[AuditRow]] = {}
    for row in sorted(found, key=lambda row: row.seq):
        group: list[AuditRow] | None = None
        key = (row.tool, row.user_id)
        if row.approval_id is not None:
            group = of_approval.get(row.approval_id)
        elif row.kind in ("outcome", "reveal"):
            group = running.get(key) if row.kind == "reveal" else running.pop(key, None)
        if group is None:
            group = []
            groups.append(group)
        if row.approval_id is not None:
            of_approval[row.approval_id] = group
        elif row.kind == "call" and row.verdict == "executing":
            running[key] = group
        group.append(row)
    return sorted((_call(group, titles) for group in groups), key=lambda call: call.newest.seq, reverse=True)


def _call(rows: Sequence[AuditRow], titles: Mapping[str, str]) -> Call:
    steps = tuple(map(step, rows))
    tool = next((row.tool for row in rows if row.tool), None)
    words = TOOL_WORDS.get(str(tool))
    what = words.kind if words else titles.get(str(tool), str(tool)) if tool else _SUBJECTS.get(rows[0].kind, "")
    return Call(steps, max(steps, key=_weight), what)


def _weight(found: Step) -> tuple[int, int]:
    """Rank a step by how much it says about the end of its call; then by age."""
    row = found.row
    if row.kind == "reveal":
        return 4, row.seq
    if row.kind == "outcome" or row.code == "resolved":
        return 3, row.seq
    if row.kind == "decision" and row.verdict in ("refused", "withdrawn"):
        return 2, row.seq
    return (0 if row.kind == "call" and row.verdict is None else 1), row.seq


def step(row: AuditRow) -> Step:
    """Describe a row."""
    code = str(row.code) if row.code not in (None, "ok") else ""
    if row.kind == "reveal":
        event = _reveal(row, code)
        told = event in _REVEALS.values() or code in _PAGES
        return Step(row, event, _tone(event), "" if told else code)
    if row.kind == "setting":
        event = _SETTINGS.get(code, "Setting changed")
        return Step(row, event, "", "" if code in _SETTINGS else code)
    is_call = row.kind == "call" and row.verdict is None
    if is_call and code in _OPEN_CALLS:
        return Step(row, _OPEN_CALLS[code], "", "")
    event = _OTHERS.get(str(row.kind)) or _VERDICTS.get(str(row.verdict)) or _end(row, code, is_call=is_call)
    return Step(row, event, _tone(event), code)


def _reveal(row: AuditRow, code: str) -> str:
    if row.verdict == "shown" and row.sink != "page":
        return "Failed"
    return _REVEALS.get(str(row.verdict)) or _PAGES.get(code, "Failed")


def _end(row: AuditRow, code: str, *, is_call: bool) -> str:
    if is_call and code:
        return "Not done"
    if row.kind == "outcome":
        return "Failed" if code else "Done"
    return "Read" if row.action_class == "read" else "Called"


def _tone(event: str) -> str:
    return "bad" if event in _BAD else "good" if event in _GOOD else ""
