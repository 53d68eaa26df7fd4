from __future__ import annotations

from typing import Literal

import pytest

from machines_mcp.vault.events import Event, EventAnswer, answer_line, event_line, parse_answer, parse_event
from machines_mcp.vault.request import VaultError

EVENTS: tuple[Literal["try", "wrong", "right", "show"], ...] = ("try", "wrong", "right", "show")


@pytest.mark.parametrize("event", [Event(event="listening", port=1), *(Event(event=one) for one in EVENTS)], ids=str)
def test_a_valid_event_round_trips(event: Event) -> None:
    assert parse_event(event_line(event)) == event


@pytest.mark.parametrize(
    "answer", [EventAnswer(wait=0), EventAnswer(wait=60), EventAnswer(go=True), EventAnswer(go=False)], ids=str
)
def test_a_valid_answer_round_trips(answer: EventAnswer) -> None:
    assert parse_answer(answer_line(answer)) == answer


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}\n",
        b'{"go":1}\n',
        b'{"go":"true"}\n',
        b'{"go":true}',
        b'{"go":true}\n\n',
        b'{"go": true}\n',
        b'{"wait":0,"go":true}\n',
        b'{"wait":-1}\n',
        b'{"wait":61}\n',
        b'{"wait":1.0}\n',
        b'{"wait":true}\n',
        b'{"go":true,"go":true}\n',
        b'{"go":null}\n',
        b'{"go":true,"why":"x"}\n',
    ],
)
def test_an_answer_that_violates_the_schema_is_refused(line: bytes) -> None:
    with pytest.raises(VaultError):
        parse_answer(line)
