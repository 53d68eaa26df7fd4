from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Policy, Rule, default_policy


@pytest.mark.parametrize(
    ("action_class", "rule"),
    [
        (ActionClass.READ, Rule.ALLOW),
        (ActionClass.WRITE, Rule.ALLOW),
        (ActionClass.MONEY, Rule.ASK),
        (ActionClass.IDENTITY, Rule.ASK),
        (ActionClass.CONSENT, Rule.ASK),
        (ActionClass.DESTROY, Rule.ASK),
        (ActionClass.REVEAL, Rule.ASK),
    ],
)
def test_default_allows_reads_and_writes_and_asks_for_the_rest(action_class: ActionClass, rule: Rule) -> None:
    assert default_policy("embedded", read_only=False).rule(action_class) is rule


def test_table_above_covers_every_class() -> None:
    assert len(ActionClass) == 7


@pytest.mark.parametrize("action_class", ActionClass)
def test_read_only_denies_everything_but_reads_with_a_reason(action_class: ActionClass) -> None:
    policy = default_policy("embedded", read_only=True)
    assert policy.rule(action_class) is (Rule.ALLOW if action_class is ActionClass.READ else Rule.DENY)
    assert "MACHINES_READ_ONLY" in policy.reason(ActionClass.MONEY)


@pytest.mark.parametrize("action_class", ActionClass)
def test_class_missing_from_the_policy_is_denied(action_class: ActionClass) -> None:
    assert Policy({}).rule(action_class) is Rule.DENY


# Policy decisions


@pytest.mark.parametrize(
    ("rules", "tools", "action_class", "tool", "says"),
    [
        ({ActionClass.MONEY: Rule.ASK}, {}, ActionClass.MONEY, "pay", ""),
        ({}, {}, ActionClass.MONEY, "pay", "the policy denies calls of class money"),
        ({ActionClass.MONEY: Rule.ASK}, {"pay": {ActionClass.MONEY: Rule.DENY}}, ActionClass.MONEY, None, ""),
        (
            {ActionClass.MONEY: Rule.ASK},
            {"pay": {ActionClass.MONEY: Rule.DENY}},
            ActionClass.MONEY,
            "pay",
            "denies pay (money)",
        ),
        ({}, {"pay": {ActionClass.MONEY: Rule.ALLOW}}, ActionClass.MONEY, "pay", ""),
    ],
)
def test_denial_has_its_reason_and_can_not_be_bypassed(
    rules: dict[ActionClass, Rule],
    tools: dict[str, dict[ActionClass, Rule]],
    action_class: ActionClass,
    tool: str | None,
    says: str,
) -> None:
    reason = Policy(rules, tools=tools).reason(action_class, tool)
    assert says in reason
    assert bool(says) is bool(reason)


def test_production_without_a_policy_allows_only_reads_with_a_reason() -> None:
    policy = default_policy("production", read_only=False)
    assert [action_class for action_class in ActionClass if policy.rule(action_class) is not Rule.DENY] == [
        ActionClass.READ
    ]
    assert "MACHINES_POLICY" in policy.reason(ActionClass.MONEY)
    assert policy.sinks == {"none"}
    assert policy.identity_through_model is False


@pytest.mark.parametrize("environment", ["embedded", "sandbox"])
def test_default_reveals_cards_on_a_page_and_accepts_identity_data(environment: str) -> None:
    policy = default_policy(environment, read_only=False)
    assert policy.sinks == {"none", "page"}
    assert policy.identity_through_model
    assert (policy.reveal_model, policy.reveal_model_cvc) == (False, False)


@pytest.mark.parametrize(
    ("environment", "action_class", "sink", "channels"),
    [
        ("embedded", ActionClass.MONEY, None, {"dialog", "desk", "terminal"}),
        ("sandbox", ActionClass.MONEY, None, {"dialog", "desk", "terminal"}),
        ("production", ActionClass.MONEY, None, {"desk", "terminal"}),
        ("production", ActionClass.WRITE, None, {"dialog", "desk", "terminal"}),
        ("production", ActionClass.READ, None, {"desk", "terminal"}),
        ("embedded", ActionClass.REVEAL, "page", {"page"}),
        ("sandbox", ActionClass.REVEAL, "page", {"page"}),
        ("production", ActionClass.REVEAL, "page", {"page"}),
        ("embedded", ActionClass.REVEAL, "model", {"dialog", "desk", "terminal"}),
        ("sandbox", ActionClass.REVEAL, "model", {"desk", "terminal"}),
        ("production", ActionClass.REVEAL, "model", {"desk", "terminal"}),
        ("sandbox", ActionClass.REVEAL, "sealed", {"dialog", "desk", "terminal"}),
        ("production", ActionClass.REVEAL, "sealed", {"desk", "terminal"}),
    ],
)
def test_each_class_has_its_approval_channels(
    environment: str, action_class: ActionClass, sink: str | None, channels: set[str]
) -> None:
    assert default_policy(environment, read_only=False).channels(action_class, sink) == channels


def test_only_the_simulator_needs_no_passphrase() -> None:
    needs = {
        name: default_policy(name, read_only=False).needs_passphrase for name in ("embedded", "sandbox", "production")
    }
    assert needs == {"embedded": False, "sandbox": True, "production": True}


def test_policy_is_immutable() -> None:
    policy = default_policy("embedded", read_only=False)
    with pytest.raises(AttributeError):
        policy.environment = "production"  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.rules[ActionClass.MONEY] = Rule.ALLOW  # type: ignore[index]


def test_simplest_sink_is_always_available() -> None:
    assert Policy({}, sinks=frozenset({"model"})).sinks == {"none", "model"}
