"""Test reading a request body within its bounds, and parsing form fields."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest

from machines_mcp.web import form
from machines_mcp.web.asgi import Message, Receive
from machines_mcp.web.form import parse_form, read_body, replay
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


def sends(messages: Iterable[Message]) -> Receive:
    """Return the receive function of a client that sends these messages and then hangs."""
    left = iter(messages)

    async def receive() -> Message:
        for message in left:
            return message
        await anyio.sleep_forever()
        raise AssertionError

    return receive


def chunk(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_within_the_limit_is_read_completely() -> None:
    pieces = [chunk(b"ab", more=True), chunk(b"", more=True), chunk(b"cd")]
    assert await read_body(sends(pieces), 4) == b"abcd"
    assert await read_body(sends(pieces), 3) is None
    assert await read_body(sends([{"type": "http.request"}]), 0) == b""


async def test_reading_stops_when_a_body_exceeds_the_limit() -> None:
    assert await read_body(sends([chunk(b"abcd", more=True)]), 3) is None


async def test_a_body_cut_by_a_disconnect_is_none() -> None:
    assert await read_body(sends([chunk(b"ab", more=True), {"type": "http.disconnect"}]), 9) is None


async def test_an_endless_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "BODY_SECONDS", 0.01)
    with anyio.fail_after(PATIENCE):
        assert await read_body(sends([chunk(b"ab", more=True)]), 9) is None


async def test_replay_returns_a_body_repeatedly() -> None:
    again = replay(b"abc")
    assert [await read_body(again, 9), await read_body(again, 9)] == [b"abc", b"abc"]


def test_form_fields_keep_their_values_in_order() -> None:
    assert parse_form(b"a=1&b=%C3%BC+x&a=2&c=", 4) == {"a": ["1", "2"], "b": ["\u00fc x"], "c": [""]}


@pytest.mark.parametrize("body", [b"a", b"a=1&", b"\xff=1", b"a=%ff"])
def test_a_malformed_form_parses_to_none(body: bytes) -> None:
    assert parse_form(body, 9) is None


def test_a_form_with_too_many_fields_parses_to_none() -> None:
    assert parse_form(b"a=1&b=2", 2) is not None
    assert parse_form(b"a=1&b=2&c=3", 2) is None


def test_invalid_utf8_can_be_replaced() -> None:
    assert parse_form(b"a=%ff", 1, errors="replace") == {"a": ["\ufffd"]}
