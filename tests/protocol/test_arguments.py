from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.protocol.approval_arguments import WaitSeconds
from machines_mcp.protocol.arguments import ParsedArguments, parse, validate
from machines_mcp.protocol.errors import FieldError, ToolError
from machines_mcp.protocol.tool import Tool, UserInput
from tests.support.fake_tools import look, note, pay

GOOD: dict[str, Any] = {"user_id": "user-1", "amount_cents": 500}

UNKNOWN = "is not an argument of this tool; send only the arguments of its input schema"
CENTS = "must be a whole number of US cents, such as 2500 for $25.00"


def _faults(tool: Tool, arguments: dict[str, Any], pinned: str | None = None) -> dict[str, str]:
    with pytest.raises(ToolError) as refused:
        validate(tool, arguments, pinned)
    assert refused.value.code == "input.invalid"
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
    return {fault.field: fault.rule for fault in refused.value.fields}


@pytest.mark.parametrize(
    ("tool", "arguments", "faults"),
    [
        (pay, {"user_id": "u"}, {"amount_cents": "is required"}),
        (pay, {}, {"user_id": "is required", "amount_cents": "is required"}),
        (pay, GOOD | {"amount_cents": "x"}, {"amount_cents": CENTS}),
        (pay, GOOD | {"amount_cents": 1.5}, {"amount_cents": CENTS}),
        (pay, GOOD | {"amount_cents": True}, {"amount_cents": CENTS}),
        (pay, GOOD | {"amount_cents": None}, {"amount_cents": CENTS}),
        (pay, GOOD | {"amount_cents": [1]}, {"amount_cents": CENTS}),
        (pay, GOOD | {"amount_cents": 0}, {"amount_cents": "must be at least 1"}),
        (pay, GOOD | {"amount_cents": 100_000_001}, {"amount_cents": "must be at most 100000000"}),
        (pay, GOOD | {"amount_cents": "9" * 5000}, {"amount_cents": CENTS}),
        (pay, GOOD | {"note": 5}, {"note": "must be a string"}),
        (pay, GOOD | {"note": "x" * 21}, {"note": "must have at most 20 characters"}),
        (pay, GOOD | {"kind": "loan"}, {"kind": "must be one of: 'gift', 'bill'"}),
        (
            pay,
            GOOD | {"user_id": " u"},
            {"user_id": "must not begin or end with a space"},
        ),
        (pay, GOOD | {"user_id": ""}, {"user_id": "must have at least 1 character"}),
        (look, {"words": "red"}, {"words": 'must be a list, such as ["red"]'}),
        (look, {"words": ["red", "blue"]}, {"words.1": "must be one of: 'red', 'green'"}),
        (look, {"words": ["red"] * 3}, {"words": "must have at most 2 items"}),
        (look, {"ratio": "much"}, {"ratio": "must be a number, such as 25.5"}),
        (look, {"ratio": float("nan")}, {"ratio": "must be a finite number"}),
        (look, {"ratio": 0}, {"ratio": "must be greater than 0.0"}),
        (look, {"code": "ABC"}, {"code": "must match ^[a-z]+$"}),
        (look, {"code": "a"}, {"code": "must have at least 2 characters"}),
        (look, {"deep": 1}, {"deep": "must be true or false"}),
        (look, {"deep": "yes"}, {"deep": "must be true or false"}),
        (look, {"deep": "deep"}, {"deep": "must be true or false"}),
        (look, {"deep": True}, {"(arguments)": "deep goes with ratio"}),
        (look, {"wrds": ["red"]}, {"wrds": "is not an argument of this tool; did you mean words?"}),
        (look, {"elephant": 1}, {"(unnamed)": UNKNOWN}),
        (look, {"ada": 1, "lovelace": 2}, {"(unnamed)": UNKNOWN}),
        (look, {"approval_id": "x"}, {"approval_id": UNKNOWN}),
        (look, {"4111 1111": 1}, {"(unnamed)": UNKNOWN}),
        (look, {"words1": 1}, {"(unnamed)": UNKNOWN}),
        (look, {"w" * 41: 1}, {"(unnamed)": UNKNOWN}),
        (look, {"WORDS": 1}, {"(unnamed)": UNKNOWN}),
        (look, {"": 1}, {"(unnamed)": UNKNOWN}),
    ],
)
def test_each_fault_names_its_field_and_rule(tool: Tool, arguments: dict[str, Any], faults: dict[str, str]) -> None:
    assert _faults(tool, arguments) == faults


def test_all_faults_are_reported_together() -> None:
    faults = _faults(pay, {"amount_cents": 0, "note": 1, "kind": "x", "user": "u"})
    assert list(faults) == ["user_id", "amount_cents", "note", "kind", "user"]


def test_valid_arguments_become_the_tools_model() -> None:
    assert validate(pay, GOOD, None).model_dump() == GOOD | {"note": None, "kind": "gift"}


@pytest.mark.parametrize("deep", [True, "true", "True", " TRUE "])
def test_a_boolean_may_be_given_in_letters(deep: object) -> None:
    assert validate(look, {"deep": deep, "ratio": "0.5"}, None).model_dump()["deep"] is True
    assert validate(look, {"deep": "False"}, None).model_dump()["deep"] is False


def test_a_pinned_server_fills_in_its_user_and_refuses_others() -> None:
    assert validate(pay, {"amount_cents": 5}, "user-9").model_dump()["user_id"] == "user-9"
    for given_user in ("user-9", "user-1", None, ["x"]):
        assert list(_faults(pay, {"amount_cents": 5, "user_id": given_user}, "user-9")) == ["user_id"]


def test_a_tool_without_a_user_gets_none_from_a_pinned_server() -> None:
    assert "user_id" not in validate(look, {}, "user-9").model_dump()
    assert list(_faults(look, {"user_id": "x"}, "user-9")) == ["user_id"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["user_id", "amount_cents", "note", "kind", "words", "ratio", "code", "deep"]) | st.text(
    max_size=50
)


@settings(max_examples=50)
@given(tool=st.sampled_from([pay, look, note]), arguments=st.dictionaries(FIELDS, JUNK, max_size=5))
def test_random_input_yields_a_model_or_faults(tool: Tool, arguments: dict[str, Any]) -> None:
    try:
        validate(tool, arguments, None)
    except ToolError as refused:
        assert refused.fields
        json.dumps(refused.payload()).encode()


@given(value=st.text(st.characters(min_codepoint=0x30, max_codepoint=0x39), min_size=9, max_size=30))
def test_faults_repeat_none_of_the_callers_digits(value: str) -> None:
    junk: dict[str, Any] = {
        "user_id": [value],
        "amount_cents": value + "x",
        "note": {value: value},
        "kind": value,
        value: value,
        f"name {value}": 1,
    }
    assert value not in json.dumps([fault for fault in _faults(pay, junk).items()])


def _parsed(tool: Tool, *, asks: bool = True, **more: object) -> ParsedArguments:
    return parse(tool, GOOD | more, pinned_user=None, forbidden=(), asks=asks)


def _parse_faults(tool: Tool, *, asks: bool = True, **more: object) -> list[str]:
    with pytest.raises(ToolError) as refused:
        _parsed(tool, asks=asks, **more)
    return [fault.field for fault in refused.value.fields]


def test_what_a_call_says_of_its_approval_is_separated_from_the_arguments() -> None:
    parsed = _parsed(pay, approval_id="0" * 32, wait_seconds="30")
    assert (parsed.approval.approval_id, parsed.approval.wait_seconds) == ("0" * 32, 30)
    assert parsed.arguments == validate(pay, GOOD, None)


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_approval_id_counts_as_absent(empty: str | None) -> None:
    assert _parsed(pay, approval_id=empty).approval.approval_id is None


@pytest.mark.parametrize("name", ["approval_id", "wait_seconds"])
def test_a_tool_that_never_asks_rejects_what_belongs_to_an_approval(name: str) -> None:
    assert _parse_faults(note, asks=False, **{name: "0" * 32}) == [name]


@pytest.mark.parametrize("given_id", ["0" * 31, "0" * 33, "g" * 32, "0" * 32 + "\n", 5, 0, False, [], {}])
def test_a_malformed_approval_id_is_refused(given_id: object) -> None:
    assert _parse_faults(pay, approval_id=given_id) == ["approval_id"]


@pytest.mark.parametrize("seconds", [-1, 51, "soon", 1.5, True, []])
def test_a_wait_is_at_most_fifty_seconds(seconds: object) -> None:
    assert _parse_faults(pay, wait_seconds=seconds) == ["wait_seconds"]


def test_a_tool_with_its_own_wait_keeps_it() -> None:
    class Wait(UserInput):
        wait_seconds: WaitSeconds = 0

    made = replace(pay, input_model=Wait)
    parsed = parse(made, {"user_id": "u", "wait_seconds": 7}, pinned_user=None, forbidden=(), asks=True)
    assert (parsed.approval.wait_seconds, parsed.arguments.model_dump()["wait_seconds"]) == (7, 7)
    with pytest.raises(ToolError) as refused:
        parse(made, {"user_id": "u", "wait_seconds": 70}, pinned_user=None, forbidden=(), asks=True)
    assert refused.value.fields == (FieldError("wait_seconds", "must be at most 50"),)


def test_faults_of_every_kind_are_reported_at_once() -> None:
    raw = {"deep": True, "code": "A", "wrds": 1, "approval_id": "x", "wait_seconds": 99, "ratios": [], "user_id": "u"}
    with pytest.raises(ToolError) as refused:
        parse(look, raw, pinned_user="u", forbidden={"ratios"}, asks=True)
    assert {fault.field: fault.rule.split(";")[0] for fault in refused.value.fields} == {
        "approval_id": "must be the approval_id from an approval.required error",
        "wait_seconds": "must be at most 50",
        "ratios": "is not accepted from you",
        "code": "must have at least 2 characters",
        "wrds": "is not an argument of this tool",
        "user_id": "is not an argument of this tool",
        "(arguments)": "deep goes with ratio",
    }


@settings(max_examples=100)
@given(data=st.data())
def test_a_fault_never_hides_another(data: st.DataObject) -> None:
    """Each of several faults is reported, whichever of them are combined."""
    faults: dict[str, dict[str, Any]] = {
        "user_id": {"user_id": data.draw(st.sampled_from([5, "", " u", "x" * 121]))},
        "amount_cents": {"amount_cents": data.draw(st.sampled_from([0, "x", None, 1.5, 10**9]))},
        "note": {"note": data.draw(st.sampled_from([5, "x" * 21, "a\u202eb"]))},
        "kind": {"kind": data.draw(st.sampled_from(["loan", 3, []]))},
        "approval_id": {"approval_id": data.draw(st.sampled_from(["x", 5, []]))},
        "wait_seconds": {"wait_seconds": data.draw(st.sampled_from([-1, 51, "x"]))},
        "(unnamed)": {"elephant": 1},
    }
    chosen = data.draw(st.lists(st.sampled_from(sorted(faults)), min_size=1, unique=True))
    more = {name: value for each in chosen for name, value in faults[each].items()}
    assert sorted(_parse_faults(pay, **more)) == sorted(chosen)
