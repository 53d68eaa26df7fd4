"""The messages while a page is open: events from the vault, answers from the server."""

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from machines_mcp.vault.reply import Denial
from machines_mcp.vault.request import Message, VaultError

MAX_EVENT_BYTES = 64
MAX_WAIT_SECONDS = 60
MAX_LOOKS = 10_000
"""How often a page asks whether its approval still waits: every 2 seconds, in up to 20 tabs."""


class Event(Message):
    """The page is served on `port`, and the questions.

    `look`: does the approval still wait. `try`: may a passphrase be checked; it is `wrong` or `right`. `show`: may the
    card be shown. `refuse`: was the refusal stored.
    """

    event: Literal["listening", "look", "try", "wrong", "right", "show", "refuse"]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class EventAnswer(Message):
    """One of: the seconds until a passphrase may be checked; a yes; why not."""

    wait: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS)] | None = None
    go: Literal[True] | None = None
    denied: Denial | None = None


def event_line(event: Event) -> bytes:
    """Encode an event in its only valid form."""
    return _line(event)


def answer_line(answer: EventAnswer) -> bytes:
    """Encode an answer in its only valid form."""
    return _line(answer)


def parse_event(line: bytes) -> Event:
    """Parse an event. Raises `VaultError`."""
    try:
        event = Event.model_validate_json(line)
    except ValidationError:
        raise VaultError from None
    if _line(event) != line or (event.port is not None) != (event.event == "listening"):
        raise VaultError
    return event


def parse_answer(line: bytes) -> EventAnswer:
    """Parse an answer. Raises `VaultError`."""
    try:
        answer = EventAnswer.model_validate_json(line)
    except ValidationError:
        raise VaultError from None
    if _line(answer) != line or len(answer.model_dump(exclude_none=True)) != 1:
        raise VaultError
    return answer


def _line(message: Message) -> bytes:
    return json.dumps(message.model_dump(exclude_none=True), separators=(",", ":")).encode() + b"\n"
