from __future__ import annotations

import ast
from pathlib import Path

from pydantic import Field

import machines_mcp
from machines_mcp.vault.reply import PlaintextReply, parse_reply, reply_line
from machines_mcp.vault.request import Message
from tests.support.card_numbers import card_number

PACKAGE = Path(machines_mcp.__file__).parent


class Word(Message):
    word: str = Field(pattern="^[0-9]+$")


def test_parser_keeps_no_string_of_a_message() -> None:
    # The parser's cache would return the same object again.
    number = card_number()
    line = f'{{"word":"{number}"}}'
    one, other = Word.model_validate_json(line), Word.model_validate_json(line)
    assert one.word == other.word == number
    assert one.word is not other.word


def test_reply_is_read_from_a_buffer_that_can_be_wiped() -> None:
    reply = PlaintextReply.model_validate(
        {
            "status": "released", "code": "released", "sink": "model", "last4": "1111", "expiration_month": 1,
            "expiration_year": 2030, "pan": card_number(),
        }
    )  # fmt: skip
    line = bytearray(reply_line(reply))
    read = parse_reply(line, "model")
    line[:] = bytes(len(line))
    assert isinstance(read, PlaintextReply)
    assert read.pan == reply.pan


def test_no_parser_in_the_package_keeps_values() -> None:
    calls = [
        (path.name, {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords})
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "from_json"
    ]
    assert calls
    assert [call for call in calls if call[1].get("cache_strings") not in ("keys", "none")] == []
