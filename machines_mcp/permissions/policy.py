"""The operator's policy: which calls are allowed, need approval or are denied, who may approve, and the limits.

Precedence for a call of a tool and a class:

1. The rule in `[tools]` for that tool and class, which may be stricter or looser than the class's rule. A tool whose
   calls have one class takes one rule (`create_card = "deny"`). A tool with several classes takes one rule per class
   (`update_card = {write = "ask"}`).
2. One rule for a tool with several classes can only tighten them. A looser one is rejected when the policy is read.
3. Otherwise the rule in `[classes]`. A class that is not named is denied.

Outside `embedded`, no class that moves money, identity or consent, destroys or reveals can be `allow`.
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
from machines_mcp.permissions.chain_entry import ChainEntry
from machines_mcp.permissions.protective import CANCEL_APPROVAL, LOCKS_PER_HOUR
from machines_mcp.storage.withdrawals import Destination

SENSITIVE = frozenset(
    {ActionClass.MONEY, ActionClass.IDENTITY, ActionClass.CONSENT, ActionClass.DESTROY, ActionClass.REVEAL}
)
"""The classes that only `embedded` may allow without approval."""

WAITING_PER_USER = 20
RETENTION_DAYS = 90
PRODUCTION_RATES = {"asks_per_minute": 5, "mutations_per_hour": 20, "reveals_per_card_per_day": 3}
"""The rates of each user in `production`, unless the policy sets others."""

READ_ONLY = "this server is in read-only mode (MACHINES_READ_ONLY)"
NO_POLICY = "production is read-only until the operator sets a policy (MACHINES_POLICY)"


class PolicyError(Exception):
    """The policy is rejected. The message is one sentence that names the key by its dotted path, without a value."""


class Rule(StrEnum):
    """The policy's decision for a class of calls."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


STRICTER = (Rule.ALLOW, Rule.ASK, Rule.DENY)
"""The rules, from least to most strict."""


_ADDED_LIMITS = (
    ("total_asks_per_minute", None),
    ("total_mutations_per_hour", None),
    ("locks_per_hour", LOCKS_PER_HOUR),
    ("waiting_per_user", WAITING_PER_USER),
)
"""The limits that are younger than the digest, with their defaults."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None means no limit. If `max_limit_cents` names any period, card limits over other periods are refused."""

    unbounded_cards: bool = False
    """Whether a card may have no limit, or only one per payment, which bounds no total."""
    max_limit_cents: Mapping[str, int] | None = None
    per_call_cents: int | None = None
    per_day_cents: int | None = None
    per_user_day_cents: int | None = None
    destinations: frozenset[Destination] | None = None
    asks_per_minute: int | None = None
    mutations_per_hour: int | None = None
    reveals_per_card_per_day: int | None = None
    total_asks_per_minute: int | None = None
    total_mutations_per_hour: int | None = None
    locks_per_hour: int = LOCKS_PER_HOUR
    waiting_per_user: int = WAITING_PER_USER

    def __post_init__(self) -> None:
        if self.max_limit_cents is not None:
            object.__setattr__(self, "max_limit_cents", MappingProxyType(dict(self.max_limit_cents)))

    def describe(self) -> dict[str, Any]:
        """Return all limits as plain JSON, for the policy's digest."""
        places = None
        if self.destinations is not None:
            places = sorted([d.currency, d.network, d.address, d.extra_id or ""] for d in self.destinations)
        limits = None if self.max_limit_cents is None else dict(self.max_limit_cents)
        plain = {name: getattr(self, name) for name in self.__slots__}
        # With the defaults the digest is that of versions without these limits, so that their approvals stay valid.
        plain = {name: value for name, value in plain.items() if (name, value) not in _ADDED_LIMITS}
        return plain | {"destinations": places, "max_limit_cents": limits}


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The public key that cards are sealed to, as it was when the policy was read: a JWK and its thumbprint."""

    jwk: bytes
    thumbprint: str
    """RFC 7638, SHA-256, base64url."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's rules. No tool can read or change this object; tools only show its decisions."""

    rules: Mapping[ActionClass, Rule]
    why: str = ""
    """The reason for every denial; empty if the rules come from the operator."""
    environment: str = "embedded"
    source: str = "default"
    """`default`, or the path of the policy file."""
    tools: Mapping[str, Mapping[ActionClass, Rule]] = field(default_factory=dict)
    """Rules of tools that differ from the rule of the class."""
    users: frozenset[str] | None = None
    """The users that calls may act for; None means any."""
    sinks: frozenset[str] = frozenset({"none"})
    reveal_model: bool = False
    reveal_model_cvc: bool = False
    reveal_copy: bool = False
    """Whether the card's page has buttons that copy the number and the CVC."""
    sealed_key: SealingKey | None = None
    identity_through_model: bool = False
    identity_link_to_model: bool = False
    dialog: frozenset[ActionClass] = frozenset()
    """The classes that the client's dialog may approve."""
    limits: Limits = field(default_factory=Limits)
    chains: Mapping[int, ChainEntry] = field(default_factory=dict)
    """The chains on which transactions of withdrawals are planned, by id. Empty: the policy names none."""
    head_file: Path | None = None
    retention_days: int = RETENTION_DAYS
    """The age from which `machines-mcp state prune` deletes rows. It affects no decision."""
    digest: str = field(init=False)
    """SHA-256 (hex) of the content. Equal policies have equal digests, wherever they were read from."""

    def __post_init__(self) -> None:
        tools = {name: MappingProxyType(dict(rules)) for name, rules in self.tools.items()}
        object.__setattr__(self, "rules", MappingProxyType(dict(self.rules)))
        object.__setattr__(self, "tools", MappingProxyType(tools))
        object.__setattr__(self, "chains", MappingProxyType(dict(self.chains)))
        object.__setattr__(self, "sinks", self.sinks | {"none"})
        text = json.dumps(self._says(), sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def rule(self, action_class: ActionClass, tool: str | None = None) -> Rule:
        """Return the rule for a class, or for a tool's calls of that class. The default is `deny`."""
        own = self.tools.get(tool, {}) if tool is not None else {}
        rule = own.get(action_class) or self.rules.get(action_class, Rule.DENY)
        # A person who had to approve that a request is withdrawn would have more to decide than before.
        return Rule.ALLOW if rule is Rule.ASK and tool == CANCEL_APPROVAL else rule

    def reason(self, action_class: ActionClass, tool: str | None = None) -> str:
        """Return why such a call is denied, as a clause; empty if it is not denied."""
        if self.rule(action_class, tool) is not Rule.DENY:
            return ""
        if self.why:
            return self.why
        if self.rules.get(action_class, Rule.DENY) is not Rule.DENY:
            return f"the policy denies {tool} ({action_class})"
        return f"the policy denies calls of class {action_class}"

    def channels(self, action_class: ActionClass, sink: str | None = None) -> frozenset[Channel]:
        """Return the channels that can approve such a call."""
        if sink == "page":
            return frozenset({"page"})
        outside: frozenset[Channel] = frozenset({"desk", "terminal"})
        if action_class not in self.dialog or (sink == "model" and self.environment != "embedded"):
            return outside
        return outside | {"dialog"}

    @property
    def needs_passphrase(self) -> bool:
        """Whether decisions require the passphrase. If so and none is set, nothing can be granted."""
        return self.environment != "embedded"

    def _says(self) -> dict[str, Any]:
        """Return everything that affects decisions, for the digest. Excludes the source."""
        # These only if they are not the default, because the digest is older than their keys.
        link = {"link_to_model": self.identity_link_to_model}
        younger: dict[str, Any] = {} if self.identity_link_to_model is (self.environment != "production") else link
        younger |= {"copy": True} if self.reveal_copy else {}
        younger |= {"chains": {str(i): chain.describe() for i, chain in self.chains.items()}} if self.chains else {}
        return younger | {
            "environment": self.environment,
            "classes": {action_class.value: rule.value for action_class, rule in self.rules.items()},
            "tools": {name: {e.value: r.value for e, r in rules.items()} for name, rules in self.tools.items()},
            "users": None if self.users is None else sorted(self.users),
            "sinks": sorted(self.sinks),
            "reveal": [self.reveal_model, self.reveal_model_cvc, self.sealed_key and self.sealed_key.thumbprint],
            "through_model": self.identity_through_model,
            "dialog": sorted(self.dialog),
            "limits": self.limits.describe(),
            "head_file": self.head_file and str(self.head_file),
        }


def default_policy(environment: str, *, read_only: bool) -> Policy:
    """Return the policy for an operator who gave no file.

    `embedded` and `sandbox` allow read and write, ask for the rest and set no limits. `production` only allows read.
    """
    real = environment == "production"
    if read_only or real:
        return Policy(
            {ActionClass.READ: Rule.ALLOW},
            READ_ONLY if read_only else NO_POLICY,
            environment,
            identity_link_to_model=not real,
            dialog=default_dialog(real),
            limits=Limits(reveals_per_card_per_day=PRODUCTION_RATES["reveals_per_card_per_day"] if real else None),
        )
    return Policy(
        dict.fromkeys(ActionClass, Rule.ASK) | {ActionClass.READ: Rule.ALLOW, ActionClass.WRITE: Rule.ALLOW},
        environment=environment,
        sinks=frozenset({"none", "page"}),
        identity_through_model=True,
        identity_link_to_model=True,
        dialog=default_dialog(real),
        limits=Limits(unbounded_cards=True),
    )


def default_dialog(real: bool) -> frozenset[ActionClass]:
    """Return the classes a client's dialog may approve. With real money only `write`: a program can answer a dialog."""
    return frozenset({ActionClass.WRITE}) if real else frozenset(ActionClass)
