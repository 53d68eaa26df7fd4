"""The messages while a page is open: events from the vault, answers from the server."""

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from machines_mcp.vault.request import Message, VaultError

MAX_EVENT_BYTES = 64


class Event(Message):
    """The page is served on `port`; a wrong passphrase; the right one, or the button if none is needed."""

    event: Literal["listening", "wrong", "right"]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Answer(Message):
    """After `wrong`: whether the passphrase is locked. After `right`: whether the card may be fetched and shown."""

    locked: bool | None = None
    go: bool | None = None


def event_line(event: Event) -> bytes:
    """Encode an event in its only valid form."""
    return _line(event)


def answer_line(answer: Answer) -> bytes:
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


def parse_answer(line: bytes) -> Answer:
    """Parse an answer. Raises `VaultError`."""
    try:
        answer = Answer.model_validate_json(line)
    except ValidationError:
        raise VaultError from None
    if _line(answer) != line or (answer.locked is None) == (answer.go is None):
        raise VaultError
    return answer


def _line(message: Message) -> bytes:
    return json.dumps(message.model_dump(exclude_none=True), separators=(",", ":")).encode() + b"\n"
