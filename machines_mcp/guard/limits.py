"""What even a person's yes does not get past: sizes, sums, destinations, rates. Days are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from machines_mcp.guard.stakes import Destination


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit, except for `max_limit_cents`: a period that it does not name is refused where it names any."""

    unbounded_cards: bool = False
    """Whether a card may have no limit, or one per payment only, which bounds no sum."""
    max_limit_cents: Mapping[str, int] | None = None
    per_call_cents: int | None = None
    per_day_cents: int | None = None
    per_user_day_cents: int | None = None
    destinations: frozenset[Destination] | None = None
    asks_per_minute: int | None = None
    mutations_per_hour: int | None = None
    reveals_per_card_per_day: int | None = None

    def __post_init__(self) -> None:
        if self.max_limit_cents is not None:
            object.__setattr__(self, "max_limit_cents", MappingProxyType(dict(self.max_limit_cents)))

    def says(self) -> dict[str, Any]:
        """All of it as plain JSON, for the policy's digest."""
        places = None
        if self.destinations is not None:
            places = sorted([d.currency, d.network, d.address, d.extra_id or ""] for d in self.destinations)
        limits = None if self.max_limit_cents is None else dict(self.max_limit_cents)
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {"destinations": places, "max_limit_cents": limits}
