"""What is read of a form: a body within its bounds, and fields that are well formed."""

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
    """A client that sends these messages and nothing more."""
    left = iter(messages)

    async def receive() -> Message:
        for message in left:
            return message
        await anyio.sleep_forever()
        raise AssertionError

    return receive


def chunk(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_read_whole_up_to_its_bound() -> None:
    pieces = [chunk(b"ab", more=True), chunk(b"", more=True), chunk(b"cd")]
    assert await read_body(sends(pieces), 4) == b"abcd"
    assert await read_body(sends(pieces), 3) is None
    assert await read_body(sends([{"type": "http.request"}]), 0) == b""


async def test_a_body_over_its_bound_is_not_read_to_its_end() -> None:
    assert await read_body(sends([chunk(b"abcd", more=True)]), 3) is None


async def test_a_body_that_breaks_off_is_none() -> None:
    assert await read_body(sends([chunk(b"ab", more=True), {"type": "http.disconnect"}]), 9) is None


async def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "BODY_SECONDS", 0.01)
    with anyio.fail_after(PATIENCE):
        assert await read_body(sends([chunk(b"ab", more=True)]), 9) is None


async def test_a_body_can_be_read_again() -> None:
    again = replay(b"abc")
    assert [await read_body(again, 9), await read_body(again, 9)] == [b"abc", b"abc"]


def test_fields_keep_their_values_in_order() -> None:
    assert parse_form(b"a=1&b=%C3%BC+x&a=2&c=", 4) == {"a": ["1", "2"], "b": ["\u00fc x"], "c": [""]}


@pytest.mark.parametrize("body", [b"a", b"a=1&", b"\xff=1", b"a=%ff"])
def test_a_malformed_form_is_none(body: bytes) -> None:
    assert parse_form(body, 9) is None


def test_a_form_with_too_many_fields_is_none() -> None:
    assert parse_form(b"a=1&b=2", 2) is not None
    assert parse_form(b"a=1&b=2&c=3", 2) is None


def test_bytes_that_are_not_text_can_be_replaced() -> None:
    assert parse_form(b"a=%ff", 1, errors="replace") == {"a": ["\ufffd"]}
