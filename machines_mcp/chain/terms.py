"""What a plan is checked against. The tools hand it in: nothing here reads a policy or a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """The terms that a person approved. `admin_address` is the account that sends the transaction."""

    amount_cents: int
    currency: str
    network: str
    address: str
    extra_id: str | None = None
    admin_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownChain:
    """The policy's entry of a chain. Without targets, the policy names other chains but not this one."""

    targets: frozenset[str] = frozenset()
    tokens: Mapping[str, int] = field(default_factory=dict)
    """The decimals of tokens, by address. Empty: the policy does not restrict them."""
