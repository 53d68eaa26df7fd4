"""What a call would do, worked out by its tool before anybody is asked: what the person reads, what limits count.

Made of validated arguments and of what Machines said, never of a model's own words; stored as JSON beside the intent.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.redaction.detectors import masked_text

Channel = Literal["dialog", "desk", "terminal", "page", "form", "operator", "policy"]
"""Where a decision comes from. `page` is the vault's own, `form` the desk's for identity data."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A validated call as the gate sees it. `asked_by` is what the client program calls itself."""

    tool: str
    action_class: ActionClass
    user_id: str
    digest: str
    asked_by: str = ""


@dataclass(frozen=True, slots=True)
class Detail:
    """One row that the person reads. `note` is what is remarkable about the value."""

    label: str
    value: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where money goes. `extra_id` is the network's memo, tag or payment id."""

    currency: str
    network: str
    address: str
    extra_id: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalDetails:
    """`amount_cents` is money that leaves; `limit_*` what a card may spend, where `limits_card` says it sets that."""

    question: str
    items: tuple[Detail, ...] = ()
    amount_cents: int | None = None
    destination: Destination | None = None
    limits_card: bool = False
    limit_cents: int | None = None
    limit_frequency: str | None = None
    card_id: str | None = None
    sink: str | None = None
    only: Literal["page", "form"] | None = None
    """The one way this can be granted, where the page that grants it also does it."""

    def masked(self) -> ApprovalDetails:
        """The same without what looks like a card number or a national id: others' texts can hold one, rows must not.

        A text that names the destination is left as it is: money follows it.
        """
        followed = (self.destination.address, self.destination.extra_id) if self.destination is not None else ()

        def mask(text: str) -> str:
            return text if any(part and part in text for part in followed) else masked_text(text)

        facts = tuple(replace(fact, value=mask(fact.value)) for fact in self.items)
        return replace(self, question=mask(self.question), items=facts)

    def as_json(self) -> str:
        """The one spelling in which a row keeps it."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ApprovalDetails:
        """What `as_json` wrote."""
        values = json.loads(text)
        facts = tuple(Detail(**fact) for fact in values.pop("facts", ()))
        destination = values.pop("destination", None)
        return cls(items=facts, destination=None if destination is None else Destination(**destination), **values)
