from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from machines_mcp.protocol.request_id import MAX_BYTES, MAX_TOKENS, request_id

BROKEN = [b'"\\ud800"', b"1" * 5000, b"[" * 1000 + b"]" * 1000, b'"\xff"', b'"\x01"', b"nope", b"{,}"]
TEXTS = st.text(st.characters(codec="ascii"), max_size=30)
IDS = st.integers(-(2**62), 2**62) | TEXTS.filter(lambda text: len(json.dumps(text)) <= MAX_BYTES)
VALUES = st.recursive(st.none() | st.integers() | TEXTS, lambda inner: st.dictionaries(TEXTS, inner) | st.lists(inner))


@given(
    number=IDS,
    broken=st.sampled_from(BROKEN),
    more=st.dictionaries(TEXTS.filter(lambda name: name not in ("id", "method")), VALUES, max_size=3),
    order=st.permutations(["id", "method", "params", "more"]),
)
def test_id_is_read_wherever_the_broken_part_is(
    number: int | str, broken: bytes, more: dict[str, object], order: list[str]
) -> None:
    parts = {
        "id": b'"id" : ' + json.dumps(number).encode(),
        "method": b'"method":"tools/call"',
        "params": b'"params":{"id":"inner","x":' + broken + b"}",
        "more": b'"more":' + json.dumps(more | {"id": 1, "method": 2}).encode(),
    }
    line = b" {" + b",".join(parts[name] for name in order) + b"}"
    with pytest.raises(ValueError, match="at line 1"):
        from_json(line)
    assert request_id(line) == number


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"nope",
        b'[{"id":1,"method":"ping"}]',
        b'{"method":"ping","params":{"id":1}}',
        b'{"id":1,"result":{"method":"ping"}}',
        b'{"id":1,"method":5,"x":nope}',
        b'{"id":1.5,"method":"ping"',
        b'{"id":null,"method":"ping"',
        b'{"id":[1],"method":"ping"',
        b'{"id":"' + b"x" * 90 + b'","method":"ping"',
        b'{"id":"\\ud800","method":"ping"',
        b'{"id":' + b"9" * 5000 + b',"method":"ping"',
        b'{"params":"open,"id":1,"method":"ping"',
        b'{"params":' + b"[" * MAX_TOKENS + b'],"id":1,"method":"ping"}',
    ],
)
def test_line_without_a_readable_id_and_method_has_none(line: bytes) -> None:
    assert request_id(line) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(line: bytes) -> None:
    request_id(b'{"id":1,' + line)
