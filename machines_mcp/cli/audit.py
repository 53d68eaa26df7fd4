"""Reading the audit at a terminal, and verifying its chain."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import opened_guard
from machines_mcp.storage.audit_chain import Fault
from machines_mcp.storage.audit_log import AuditRow, Checkpoint, Finding
from machines_mcp.storage.database import StoreUnavailable

MOST_CHARACTERS = 40

_RIGHT = {"row", "cents"}


class Unverifiable(Exception):
    """The chain can't be judged; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to show: at most `limit`, the newest; `since` is in seconds since the epoch."""

    tool: str | None = None
    kind: str | None = None
    user_id: str | None = None
    since: float | None = None
    limit: int = 50


async def rows(settings: Settings, wanted: Wanted) -> list[AuditRow]:
    """The rows, the newest last.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    async with opened_guard(settings) as guard:
        found = await guard.audit.rows(
            tool=wanted.tool,
            kind=wanted.kind,
            user_id=wanted.user_id,
            since=wanted.since,
            limit=wanted.limit,
            newest_first=True,
        )
    return found[::-1]


def table(found: list[AuditRow]) -> str:
    """The rows as plain aligned text; a column that has nothing to say is left out."""
    if not found:
        return "No rows."
    columns = {title: cells for title, cells in _columns(found).items() if any(cells)}
    lines = []
    for line in zip(*([title, *cells] for title, cells in columns.items()), strict=True):
        padded = (
            cell.rjust(_width(columns, title)) if title in _RIGHT else cell.ljust(_width(columns, title))
            for title, cell in zip(columns, line, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def since_time(text: str, now: float) -> float:
    """Seconds since the epoch, from seconds back or an ISO date or time (UTC where it names no zone).

    Raises:
        ValueError: It is neither.
    """
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return now - int(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def moment(at: float) -> str:
    """A time as a person reads it, in UTC to the second."""
    with suppress(ValueError, OverflowError, OSError, TypeError):
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return "?"


async def verified(settings: Settings, head_file: Path | None, write_head: Path | None) -> tuple[Finding, str]:
    """Walk the chain, against a head where there is one; what was found, and the same in one sentence.

    `head_file` is by default what the policy names. `write_head` gets the head of a chain that is whole.

    Raises:
        Unverifiable: A head or the key is missing or can't be used.
        StoreUnavailable: The state folder can't be used.
    """
    _refuse_without_key(settings.state_dir)
    async with opened_guard(settings) as guard:
        path = head_file or guard.policy.head_file
        checkpoint = read_head(path)
        finding = await guard.audit.verified(checkpoint)
    unseen = path is not None and checkpoint is None and path != write_head
    if finding.ok and unseen and (finding.rows or head_file is not None):
        raise Unverifiable(
            f"The head is not there: {path}. It is written with each row; if it never was, add --write-head {path}."
        )
    if finding.ok and write_head is not None:
        try:
            finding.checkpoint.write(write_head)
        except OSError:
            raise Unverifiable(f"The head can't be written to {write_head}; check its folder.") from None
    return finding, verification_message(finding, checkpoint)


def verification_message(finding: Finding, checkpoint: Checkpoint | None) -> str:
    """What was found, in one sentence."""
    if not finding.ok:
        more = f", and {len(finding.faults) - 1} places more" if len(finding.faults) > 1 else ""
        key = "; if every row is, the key is another one" if finding.faults[0] == Fault(1, "changed") else ""
        return f"Tampered with: {finding.faults[0]}{more} ({finding.rows} rows are there){key}."
    newest = f", the newest of {moment(finding.checkpoint.at)} UTC" if finding.rows else ""
    against = (
        f"the head of row {checkpoint.seq} is one of them" if checkpoint else "without a head a cut end is not seen"
    )
    return f"Whole: {finding.rows} rows{newest}; {against}."


def _refuse_without_key(folder: Path) -> None:
    """A key that is made now would call every row tampered with."""
    key = folder / "keys" / "audit.key"
    try:
        gone = not key.exists() and (folder / "state.db").exists()
    except OSError:
        raise StoreUnavailable from None
    if gone:
        raise Unverifiable(f"The key of the audit is not there: {key}. Without it no row can be judged.")


def read_head(path: Path | None) -> Checkpoint | None:
    """The head that is kept there; None where none is.

    Raises:
        Unverifiable: It can't be read, or is no head.
    """
    if path is None:
        return None
    try:
        return Checkpoint.read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise Unverifiable(f"The head can't be read, or is none: {path}.") from None


def _columns(found: list[AuditRow]) -> dict[str, list[str]]:
    def cells(name: str) -> list[str]:
        return [_cell(getattr(row, name)) for row in found]

    return {
        "row": cells("seq"),
        "time (UTC)": [moment(row.at) for row in found],
        "kind": cells("kind"),
        "tool": cells("tool"),
        "class": cells("action_class"),
        "verdict": cells("verdict"),
        "code": cells("code"),
        "by": cells("by"),
        "user": cells("user_id"),
        "cents": cells("amount_cents"),
        "card": cells("card_id"),
        "sink": cells("sink"),
        "approval": [cell[:8] for cell in cells("approval_id")],
    }


def _cell(value: object) -> str:
    # A row that somebody put in can hold anything, and this goes to a terminal.
    text = "" if value is None else str(value)
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= MOST_CHARACTERS else shown[: MOST_CHARACTERS - 3] + "..."


def _width(columns: dict[str, list[str]], title: str) -> int:
    return max(len(title), *map(len, columns[title]))
