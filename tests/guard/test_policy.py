from __future__ import annotations

import pytest

from machines_mcp.guard.effect import Effect
from machines_mcp.guard.policy import Policy, Rule, default_policy


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
    assert Policy({}, "nothing is named").rule(effect) is Rule.DENY
