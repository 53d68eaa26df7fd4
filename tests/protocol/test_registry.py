from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Policy, Rule, default_policy
from machines_mcp.protocol.registry import Registry
from machines_mcp.storage.principal import ANY_USER
from tests.support.fake_tools import ALL_TOOLSETS, TOOLS, change, note, pay

NORMAL, STRICT = default_policy("embedded", read_only=False), default_policy("embedded", read_only=True)


def _registry(policy: Policy = NORMAL, toolsets: frozenset[str] = ALL_TOOLSETS) -> Registry:
    return Registry(TOOLS, policy, ANY_USER, toolsets=toolsets)


def test_tools_keep_their_given_order() -> None:
    assert [tool.name for tool in _registry().listing] == ["look", "note", "pay", "tip", "change"]


def test_unselected_toolsets_are_absent_except_always() -> None:
    assert list(_registry(toolsets=frozenset({"observe"})).tools) == ["look", "note"]


def test_denied_tools_are_known_but_not_listed() -> None:
    registry = _registry(STRICT)
    assert [tool.name for tool in registry.listing] == ["look"]
    assert "pay" in registry.tools


@pytest.mark.parametrize(
    ("rules", "asks", "usable"),
    [
        ({}, False, False),
        ({ActionClass.WRITE: Rule.ALLOW}, False, True),
        ({ActionClass.MONEY: Rule.ASK}, True, True),
        ({ActionClass.MONEY: Rule.ALLOW}, True, True),
        ({ActionClass.MONEY: Rule.DENY, ActionClass.WRITE: Rule.ALLOW}, False, True),
        ({ActionClass.READ: Rule.ASK}, False, False),
    ],
)
def test_a_tool_with_two_classes_is_usable_if_either_is_allowed(
    rules: dict[ActionClass, Rule], asks: bool, usable: bool
) -> None:
    registry = _registry(Policy(rules, "because"))
    assert registry.may_ask(change) is asks
    assert registry.is_usable(change) is usable


def test_only_a_tool_that_asks_takes_an_approval_id() -> None:
    listed = {tool.name: tool.input_schema["properties"] for tool in _registry().listing}
    assert "approval_id" in listed[pay.name]
    assert "approval_id" not in listed[note.name]


def test_annotations_follow_from_the_classes() -> None:
    hints = {tool.name: tool.annotations for tool in _registry().listing}
    look_hints, pay_hints, note_hints = hints["look"], hints["pay"], hints["note"]
    assert look_hints is not None
    assert pay_hints is not None
    assert note_hints is not None
    assert (look_hints.read_only_hint, look_hints.destructive_hint, look_hints.open_world_hint) == (True, False, False)
    assert (pay_hints.read_only_hint, pay_hints.destructive_hint) == (False, True)
    assert (note_hints.destructive_hint, note_hints.open_world_hint) == (False, True)
    assert (note_hints.idempotent_hint, pay_hints.idempotent_hint, look_hints.idempotent_hint) == (False, False, True)
