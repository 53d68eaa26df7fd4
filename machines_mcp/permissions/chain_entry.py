"""The policy's entry of a chain, without its file format, which loads only with a policy file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """A chain's contracts and the decimals of its tokens by address. Addresses are in their normal form."""

    targets: frozenset[str]
    tokens: Mapping[str, int]

    def describe(self) -> dict[str, Any]:
        """Return the entry as plain JSON, for the policy's digest."""
        return {"targets": sorted(self.targets), "tokens": dict(self.tokens)}
