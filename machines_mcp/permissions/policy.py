"""What each call may do: allow it, ask a person, or refuse it; who may say yes; what is never passed.

Which rule wins, for a call of a tool and a class:

1. What `[tools]` says of that tool and class, stricter or looser than the class's rule. A tool whose calls have one
   class is written with one rule (`create_card = "deny"`); one with several is written class by class
   (`update_card = {write = "ask"}`).
2. One rule for a tool of several classes can only tighten them; one that would loosen any is refused when it is read.
3. Else what `[classes]` says, and a class that is not named is refused.

Outside `embedded` nothing that moves money, identity or consent, destroys or reveals is ever plainly allowed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import Channel
from machines_mcp.permissions.limits import Limits

SENSITIVE = frozenset(
    {ActionClass.MONEY, ActionClass.IDENTITY, ActionClass.CONSENT, ActionClass.DESTROY, ActionClass.REVEAL}
)
"""The classes that only `embedded` may allow without a person."""

READ_ONLY = "the operator started this server read-only (MACHINES_READ_ONLY)"
NO_POLICY = "production only reads while the operator has given it no policy (MACHINES_POLICY)"


class PolicyError(Exception):
    """The policy is refused; the message is one sentence that names the key by its dotted path, and holds no value."""


class Rule(StrEnum):
    """What happens to a call of a class."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


STRICTER = (Rule.ALLOW, Rule.ASK, Rule.DENY)
"""Each lets less through than the one before."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's rules. No tool can read or change this object; only its answers are shown."""

    rules: Mapping[ActionClass, Rule]
    why: str = ""
    """Why everything is refused that is; empty where the rules are the operator's own."""
    environment: str = "embedded"
    source: str = "default"
    """`default`, or the file it was read from."""
    tools: Mapping[str, Mapping[ActionClass, Rule]] = field(default_factory=dict)
    """Where a tool's rule for a class is not the class's own."""
    users: frozenset[str] | None = None
    """The users that calls may act for; None: any."""
    sinks: frozenset[str] = frozenset({"none"})
    reveal_model: bool = False
    reveal_model_cvc: bool = False
    sealed_key: Path | None = None
    identity_through_model: bool = False
    dialog: frozenset[ActionClass] = frozenset()
    """The classes that a person may grant in the client's dialog."""
    limits: Limits = field(default_factory=Limits)
    head_file: Path | None = None
    digest: str = field(init=False)
    """SHA-256 (hex) of what it says: equal policies have equal digests, wherever they were read from."""

    def __post_init__(self) -> None:
        tools = {name: MappingProxyType(dict(rules)) for name, rules in self.tools.items()}
        object.__setattr__(self, "rules", MappingProxyType(dict(self.rules)))
        object.__setattr__(self, "tools", MappingProxyType(tools))
        object.__setattr__(self, "sinks", self.sinks | {"none"})
        text = json.dumps(self._says(), sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def rule(self, action_class: ActionClass, tool: str | None = None) -> Rule:
        """The rule for a class, or for a tool's calls of it; what the policy does not name is refused."""
        own = self.tools.get(tool, {}) if tool is not None else {}
        return own.get(action_class) or self.rules.get(action_class, Rule.DENY)

    def reason(self, action_class: ActionClass, tool: str | None = None) -> str:
        """Why such a call is refused, as a clause; empty where it is not."""
        if self.rule(action_class, tool) is not Rule.DENY:
            return ""
        if self.why:
            return self.why
        if self.rules.get(action_class, Rule.DENY) is not Rule.DENY:
            return f"the operator refuses {tool} ({action_class})"
        return f"the operator refuses calls of the class {action_class}"

    def channels(self, action_class: ActionClass, sink: str | None = None) -> frozenset[Channel]:
        """Where a person may say yes to such a call."""
        if sink == "page":
            return frozenset({"page"})
        outside: frozenset[Channel] = frozenset({"desk", "terminal"})
        if action_class not in self.dialog or (sink == "model" and self.environment != "embedded"):
            return outside
        return outside | {"dialog"}

    @property
    def needs_passphrase(self) -> bool:
        """Whether a person's yes and no count only with the passphrase, and without one set nothing is granted."""
        return self.environment != "embedded"

    def allows_user(self, user_id: str) -> bool:
        """Whether calls may act for this user; another one is `not_found`, so that the list can't be guessed at."""
        return self.users is None or user_id in self.users

    def _says(self) -> dict[str, Any]:
        """What is hashed: all that decides, in one spelling; not where it was read from."""
        return {
            "environment": self.environment,
            "classes": {action_class.value: rule.value for action_class, rule in self.rules.items()},
            "tools": {name: {e.value: r.value for e, r in rules.items()} for name, rules in self.tools.items()},
            "users": None if self.users is None else sorted(self.users),
            "sinks": sorted(self.sinks),
            "reveal": [self.reveal_model, self.reveal_model_cvc, self.sealed_key and str(self.sealed_key)],
            "through_model": self.identity_through_model,
            "dialog": sorted(self.dialog),
            "limits": self.limits.describe(),
            "head_file": self.head_file and str(self.head_file),
        }


def default_policy(environment: str, *, read_only: bool) -> Policy:
    """The policy where the operator gave no file.

    `embedded` and `sandbox`: read and write, ask for the rest, no limits. `production`: read.
    """
    real = environment == "production"
    if read_only or real:
        return Policy(
            {ActionClass.READ: Rule.ALLOW},
            READ_ONLY if read_only else NO_POLICY,
            environment,
            dialog=default_dialog(real),
        )
    return Policy(
        dict.fromkeys(ActionClass, Rule.ASK) | {ActionClass.READ: Rule.ALLOW, ActionClass.WRITE: Rule.ALLOW},
        environment=environment,
        sinks=frozenset({"none", "page"}),
        identity_through_model=True,
        dialog=default_dialog(real),
        limits=Limits(unbounded_cards=True),
    )


def default_dialog(real: bool) -> frozenset[ActionClass]:
    """The classes that a client's dialog may grant; with real money it may not, because a program can answer it."""
    return frozenset({ActionClass.WRITE}) if real else frozenset(ActionClass)
