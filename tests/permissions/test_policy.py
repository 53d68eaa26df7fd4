from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.policy import Policy, Rule, default_policy


@pytest.mark.parametrize(
    ("effect", "rule"),
    [
        (Effect.READ, Rule.ALLOW),
        (Effect.WRITE, Rule.ALLOW),
        (Effect.MONEY, Rule.ASK),
        (Effect.IDENTITY, Rule.ASK),
        (Effect.CONSENT, Rule.ASK),
        (Effect.DESTROY, Rule.ASK),
        (Effect.REVEAL, Rule.ASK),
    ],
)
def test_by_default_reading_and_writing_are_allowed_and_the_rest_is_asked(effect: Effect, rule: Rule) -> None:
    assert default_policy("embedded", read_only=False).rule(effect) is rule


def test_every_class_has_a_line_in_the_table_above() -> None:
    assert len(Effect) == 7


@pytest.mark.parametrize("effect", Effect)
def test_read_only_refuses_everything_but_reading_and_says_why(effect: Effect) -> None:
    policy = default_policy("embedded", read_only=True)
    assert policy.rule(effect) is (Rule.ALLOW if effect is Effect.READ else Rule.DENY)
    assert "MACHINES_READ_ONLY" in policy.reason(Effect.MONEY)


@pytest.mark.parametrize("effect", Effect)
def test_a_class_that_the_policy_does_not_name_is_refused(effect: Effect) -> None:
    assert Policy({}).rule(effect) is Rule.DENY


# What a policy answers


@pytest.mark.parametrize(
    ("rules", "tools", "effect", "tool", "says"),
    [
        ({Effect.MONEY: Rule.ASK}, {}, Effect.MONEY, "pay", ""),
        ({}, {}, Effect.MONEY, "pay", "the operator refuses calls of the class money"),
        ({Effect.MONEY: Rule.ASK}, {"pay": {Effect.MONEY: Rule.DENY}}, Effect.MONEY, None, ""),
        ({Effect.MONEY: Rule.ASK}, {"pay": {Effect.MONEY: Rule.DENY}}, Effect.MONEY, "pay", "refuses pay (money)"),
        ({}, {"pay": {Effect.MONEY: Rule.ALLOW}}, Effect.MONEY, "pay", ""),
    ],
)
def test_a_refusal_has_its_reason_and_no_way_around_it(
    rules: dict[Effect, Rule], tools: dict[str, dict[Effect, Rule]], effect: Effect, tool: str | None, says: str
) -> None:
    reason = Policy(rules, tools=tools).reason(effect, tool)
    assert says in reason
    assert bool(says) is bool(reason)


def test_production_without_a_policy_only_reads_and_says_why() -> None:
    policy = default_policy("production", read_only=False)
    assert [effect for effect in Effect if policy.rule(effect) is not Rule.DENY] == [Effect.READ]
    assert "MACHINES_POLICY" in policy.reason(Effect.MONEY)
    assert policy.sinks == {"none"}
    assert policy.identity_through_model is False


@pytest.mark.parametrize("environment", ["embedded", "sandbox"])
def test_without_a_file_cards_are_shown_on_a_page_and_identity_passes(environment: str) -> None:
    policy = default_policy(environment, read_only=False)
    assert policy.sinks == {"none", "page"}
    assert policy.identity_through_model
    assert (policy.reveal_model, policy.reveal_model_cvc) == (False, False)


@pytest.mark.parametrize(
    ("environment", "effect", "sink", "ways"),
    [
        ("embedded", Effect.MONEY, None, {"dialog", "desk", "terminal"}),
        ("sandbox", Effect.MONEY, None, {"dialog", "desk", "terminal"}),
        ("production", Effect.MONEY, None, {"desk", "terminal"}),
        ("production", Effect.WRITE, None, {"dialog", "desk", "terminal"}),
        ("production", Effect.READ, None, {"desk", "terminal"}),
        ("embedded", Effect.REVEAL, "page", {"page"}),
        ("sandbox", Effect.REVEAL, "page", {"page"}),
        ("production", Effect.REVEAL, "page", {"page"}),
        ("embedded", Effect.REVEAL, "model", {"dialog", "desk", "terminal"}),
        ("sandbox", Effect.REVEAL, "model", {"desk", "terminal"}),
        ("production", Effect.REVEAL, "model", {"desk", "terminal"}),
        ("sandbox", Effect.REVEAL, "sealed", {"dialog", "desk", "terminal"}),
        ("production", Effect.REVEAL, "sealed", {"desk", "terminal"}),
    ],
)
def test_each_class_has_the_ways_by_which_a_person_may_say_yes(
    environment: str, effect: Effect, sink: str | None, ways: set[str]
) -> None:
    assert default_policy(environment, read_only=False).ways(effect, sink) == ways


def test_only_the_simulator_needs_no_passphrase() -> None:
    needs = {
        name: default_policy(name, read_only=False).needs_passphrase for name in ("embedded", "sandbox", "production")
    }
    assert needs == {"embedded": False, "sandbox": True, "production": True}


def test_a_policy_can_not_be_changed() -> None:
    policy = default_policy("embedded", read_only=False)
    with pytest.raises(AttributeError):
        policy.environment = "production"  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.rules[Effect.MONEY] = Rule.ALLOW  # type: ignore[index]


def test_the_simplest_sink_is_always_there() -> None:
    assert Policy({}, sinks=frozenset({"model"})).sinks == {"none", "model"}
