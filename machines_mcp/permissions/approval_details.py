"""Approval details: what a call would do, as shown to the person and checked against limits.

Built by the tool from validated arguments and Machines' responses, never from model text. Stored as JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.redaction.detectors import masked_texts
from machines_mcp.storage.withdrawals import Destination

Channel = Literal["dialog", "desk", "terminal", "page", "form", "operator", "policy"]
"""The channel of a decision. `page` is the vault's page, `form` the desk's form for identity data."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A validated call to authorize. `asked_by` is the name the client reports for itself.

    A `protective` call only protects the user, as locking a card does. No freeze stops it.
    """

    tool: str
    action_class: ActionClass
    user_id: str
    digest: str
    asked_by: str = ""
    protective: bool = False


@dataclass(frozen=True, slots=True)
class Detail:
    """One row shown to the person. `note` points out something unusual about the value."""

    label: str
    value: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalDetails:
    """`amount_cents` is money that leaves. If `limits_card` is true, the call sets the card's limit to `limit_*`."""

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
    """The only channel that can grant this, if the page that grants it also executes it."""
    protective: bool = False
    """As in `CallRequest`."""

    def masked(self) -> ApprovalDetails:
        """Return a copy with likely card numbers and national ids masked: third-party text may contain them.

        Text that contains the destination stays unchanged, because money is sent there.
        """
        to = self.destination
        followed = [] if to is None else [part for part in (to.address, to.extra_id) if part]
        question, *values = masked_texts([self.question, *(item.value for item in self.items)], followed)
        items = tuple(
            item if item.value == value else replace(item, value=value)
            for item, value in zip(self.items, values, strict=True)
        )
        return replace(self, question=question, items=items)

    def as_json(self) -> str:
        """Return the canonical JSON stored in the row."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ApprovalDetails:
        """Parse the output of `as_json`."""
        values = json.loads(text)
        items = tuple(Detail(**item) for item in values.pop("items", ()))
        destination = values.pop("destination", None)
        return cls(items=items, destination=None if destination is None else Destination(**destination), **values)
