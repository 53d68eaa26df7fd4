"""Read the audit log at a terminal and verify its hash chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from machines_mcp.cli.screen import screen_width, table, wrapped
from machines_mcp.redaction.characters import printable
from machines_mcp.redaction.display import dollars, moment
from machines_mcp.redaction.foreign_text import shortened
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.audit_chain import Fault
from machines_mcp.storage.audit_log import AuditRow, Checkpoint, Verification
from machines_mcp.storage.database import StoreUnavailable

MAX_CELL_CHARACTERS = 40

_TIME = "time (UTC)"
_RIGHT_ALIGNED = {"row", "amount"}
_FIRST_LINE = ("kind", "tool", "verdict", "code")


class Unverifiable(Exception):
    """The chain can't be verified; the message says what to do."""


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Selects audit rows: the newest `limit` that match. `since` is in seconds since the epoch."""

    tool: str | None = None
    kind: str | None = None
    user_id: str | None = None
    since: float | None = None
    limit: int = 50


async def matching_rows(settings: Settings, query: AuditQuery) -> list[AuditRow]:
    """Return the matching rows, newest last.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    async with open_guard(settings) as guard:
        found = await guard.audit.rows(
            guard.principal,
            tool=query.tool,
            kind=query.kind,
            user_id=query.user_id,
            since=query.since,
            limit=query.limit,
            newest_first=True,
        )
    return found[::-1]


def format_table(found: list[AuditRow]) -> str:
    """Return the rows as aligned text without empty columns. If it is too wide, each row has lines of its own."""
    if not found:
        return "No rows."
    columns = {title: cells for title, cells in _columns(found).items() if any(cells)}
    lines, width = table(columns, _RIGHT_ALIGNED), screen_width()
    return "\n".join(lines if width is None or max(map(len, lines)) <= width else _entries(columns))


def _entries(columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the rows below their days. Nothing is cut: what does not fit the first line is on the next ones."""
    day = None
    for cells in zip(*columns.values(), strict=True):
        row = dict(zip(columns, cells, strict=True))
        date, _, time = row.pop(_TIME).partition(" ")
        if date != day:
            yield f"{date} (UTC)"
        day = date
        first = [row.pop("row"), time, *(row.pop(title, "") for title in _FIRST_LINE)]
        yield wrapped("  " + "  ".join(filter(None, first)), 6)
        rest = ", ".join(f"{title} {cell}" for title, cell in row.items() if cell)
        if rest:
            yield wrapped(f"      {rest}", 6)


def since_time(text: str, now: float) -> float:
    """Convert a number of seconds ago, or an ISO date or time (UTC by default), to seconds since the epoch.

    Raises:
        ValueError: `text` is neither.
    """
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return now - int(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def verify_chain(settings: Settings, head_file: Path | None, write_head: Path | None) -> tuple[Verification, str]:
    """Verify the chain, against a checkpoint if there is one. Return the verification and a summary of it.

    `head_file` defaults to the policy's. The checkpoint of an intact chain is written to `write_head`.

    Raises:
        Unverifiable: A checkpoint or the key is missing or unusable.
        StoreUnavailable: The state folder can't be used.
    """
    _refuse_without_key(settings.state_dir)
    async with open_guard(settings) as guard:
        path = head_file or guard.policy.head_file
        checkpoint = read_checkpoint(path)
        verification = await guard.audit.verified(checkpoint)
    unseen = path is not None and checkpoint is None and path != write_head
    if verification.ok and unseen and (verification.rows or head_file is not None):
        raise Unverifiable(
            f"The checkpoint is missing: {path}. Each new row writes it; if none ever did, add --write-head {path}."
        )
    if verification.ok and write_head is not None:
        try:
            verification.checkpoint.write(write_head)
        except OSError:
            raise Unverifiable(f"The checkpoint can't be written to {write_head}. Check its folder.") from None
    return verification, verification_message(verification, checkpoint)


def verification_message(verification: Verification, checkpoint: Checkpoint | None) -> str:
    """Summarize the verification in one or two sentences."""
    if not verification.ok:
        more = f", and {len(verification.faults) - 1} more" if len(verification.faults) > 1 else ""
        first = verification.faults[0]
        key = "; if every row was changed, the key is the wrong one" if first == Fault(1, "changed") else ""
        return f"Tampered with: {first}{more} ({verification.rows} rows in total){key}."
    newest = f", the newest from {moment(verification.checkpoint.at)} UTC" if verification.rows else ""
    pruned = f", {verification.pruned} pruned" if verification.pruned else ""
    pruned += f", {verification.forgotten} under pseudonyms of forgotten users" if verification.forgotten else ""
    against = (
        f"The checkpoint at row {checkpoint.seq} matches."
        if checkpoint
        else "Without a checkpoint (--write-head), deleting the newest rows goes unnoticed."
    )
    return f"Intact: {_count(verification.rows, 'row')}{pruned}{newest}. {against}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _refuse_without_key(folder: Path) -> None:
    """Refuse to create a key here: under a new key, every row would look tampered with."""
    key = folder / "keys" / "audit.key"
    try:
        gone = not key.exists() and (folder / "state.db").exists()
    except OSError:
        raise StoreUnavailable from None
    if gone:
        raise Unverifiable(f"The audit key is missing: {key}. No row can be verified without it.")


def read_checkpoint(path: Path | None) -> Checkpoint | None:
    """Read the checkpoint from a file; None if there is none.

    Raises:
        Unverifiable: It can't be read, or is not a checkpoint.
    """
    if path is None:
        return None
    try:
        return Checkpoint.read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise Unverifiable(f"The checkpoint can't be read or is invalid: {path}.") from None


def _columns(found: list[AuditRow]) -> dict[str, list[str]]:
    def cells(name: str) -> list[str]:
        return [_cell(getattr(row, name)) for row in found]

    return {
        "row": cells("seq"),
        _TIME: [moment(row.at) for row in found],
        "kind": cells("kind"),
        "tool": cells("tool"),
        "class": cells("action_class"),
        "verdict": cells("verdict"),
        "code": cells("code"),
        "by": cells("by"),
        "user": cells("user_id"),
        "amount": [dollars(c) if type(c := row.amount_cents) is int else _cell(c) for row in found],
        "card": cells("card_id"),
        "sink": cells("sink"),
        "approval": [cell[:8] for cell in cells("approval_id")],
    }


def _cell(value: object) -> str:
    # A row edited outside this program can hold anything, and this goes to a terminal.
    return "" if value is None else shortened(printable(str(value)), MAX_CELL_CHARACTERS)
