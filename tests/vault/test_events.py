from __future__ import annotations

from typing import Literal, get_args

import pytest

from machines_mcp.vault.events import (
    MAX_EVENT_BYTES,
    Event,
    EventAnswer,
    answer_line,
    event_line,
    parse_answer,
    parse_event,
)
from machines_mcp.vault.reply import Denial
from machines_mcp.vault.request import VaultError

Question = Literal["look", "try", "wrong", "right", "show", "refuse"]
DENIALS: tuple[Denial, ...] = get_args(Denial)
EVENTS: tuple[Question, ...] = get_args(Question)


@pytest.mark.parametrize("event", [Event(event="listening", port=1), *(Event(event=one) for one in EVENTS)], ids=str)
def test_a_valid_event_round_trips(event: Event) -> None:
    assert parse_event(event_line(event)) == event


@pytest.mark.parametrize(
    "answer",
    [EventAnswer(wait=0), EventAnswer(wait=60), EventAnswer(go=True), *(EventAnswer(denied=one) for one in DENIALS)],
    ids=str,
)
def test_a_valid_answer_round_trips(answer: EventAnswer) -> None:
    line = answer_line(answer)
    assert parse_answer(line) == answer
    assert len(line) <= MAX_EVENT_BYTES


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
        b'{"go":false}\n',
        b'{"denied":null}\n',
        b'{"denied":"shown"}\n',
        b'{"denied":"page.refused"}\n',
        b'{"go":true,"denied":"page.frozen"}\n',
        b'{"go":true,"why":"x"}\n',
    ],
)
def test_an_answer_that_violates_the_schema_is_refused(line: bytes) -> None:
    with pytest.raises(VaultError):
        parse_answer(line)
