"""The lines that pass while a page is open: what the vault tells and asks, and what the server answers."""

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from machines_mcp.vault.request import Message, VaultError

MAX_EVENT_BYTES = 64


class Event(Message):
    """The page is served on `port`; a wrong passphrase was typed; the right one was, or the button was pressed."""

    event: Literal["listening", "wrong", "right"]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Answer(Message):
    """After `wrong`: whether that was one too many. After `right`: whether the card may be fetched and shown."""

    locked: bool | None = None
    go: bool | None = None


def event_line(event: Event) -> bytes:
    """The one spelling of an event."""
    return _line(event)


def answer_line(answer: Answer) -> bytes:
    """The one spelling of an answer."""
    return _line(answer)


def parse_event(line: bytes) -> Event:
    """The event in a line. Raises `VaultError`."""
    try:
        event = Event.model_validate_json(line)
    except ValidationError:
        raise VaultError from None
    if _line(event) != line or (event.port is not None) != (event.event == "listening"):
        raise VaultError
    return event


def parse_answer(line: bytes) -> Answer:
    """The answer in a line. Raises `VaultError`."""
    try:
        answer = Answer.model_validate_json(line)
    except ValidationError:
        raise VaultError from None
    if _line(answer) != line or (answer.locked is None) == (answer.go is None):
        raise VaultError
    return answer


def _line(message: Message) -> bytes:
    return json.dumps(message.model_dump(exclude_none=True), separators=(",", ":")).encode() + b"\n"
