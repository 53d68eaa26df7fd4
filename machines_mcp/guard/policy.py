"""What each class of call may do: allow it, ask a person, or refuse it with the operator's reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from machines_mcp.guard.effect import Effect


class Rule(StrEnum):
    """What happens to a call of a class."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's rules. No tool can read or change this object; only its `rule` answers."""

    rules: Mapping[Effect, Rule]
    reason: str

    def rule(self, effect: Effect) -> Rule:
        """The rule for a class; a class that the policy does not name is refused."""
        return self.rules.get(effect, Rule.DENY)


def default_policy(*, read_only: bool) -> Policy:
    """The policy of `embedded` and `sandbox` without a policy file: read and write, ask for the rest."""
    if read_only:
        return Policy({Effect.READ: Rule.ALLOW}, "the operator started this server read-only (MACHINES_READ_ONLY)")
    rules = dict.fromkeys(Effect, Rule.ASK) | {Effect.READ: Rule.ALLOW, Effect.WRITE: Rule.ALLOW}
    return Policy(rules, "")
