"""Approval details: what a call would do, as shown to the person and checked against limits.

Built by the tool from validated arguments and Machines' responses, never from model text. Stored as JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.redaction.detectors import masked_text, masked_texts
from machines_mcp.redaction.quoting import quoted
from machines_mcp.storage.withdrawals import Destination

Channel = Literal["dialog", "desk", "terminal", "page", "form", "operator", "policy"]
"""The channel of a decision. `page` is the vault's page, `form` the desk's form for identity data."""
Withdrawn = Literal["withdrawn"]
Author = Literal["agent", "machines"]
"""Who wrote a text that this server did not: the agent, whose arguments may come from injected text, or Machines."""
AUTHORS: Mapping[Author, str] = {"agent": "from the agent", "machines": "from Machines"}
WITHDRAWN: Withdrawn = "withdrawn"
"""In place of the channel of a refused row: the assistant withdrew the request. Earlier versions read it as refused."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A validated call to authorize. `asked_by` is the name the client reports for itself.

    A `protective` call only protects the user, as locking a card does. No freeze stops it. One that `locks` a card may
    do more.
    """

    tool: str
    action_class: ActionClass
    user_id: str
    digest: str
    asked_by: str = ""
    protective: bool = False
    locks: bool = False
    makes: str = ""
    """What each call makes, such as `card`, if an equal call makes a second one."""


@dataclass(frozen=True, slots=True)
class EarlierCall:
    """An equal call that ran before: its approval, what it made, when it started, and whether it is done."""

    approval_id: str
    what: str
    at: float
    done: bool


@dataclass(frozen=True, slots=True)
class Detail:
    """One row shown to the person. `note` points out something unusual about the value.

    `verbatim`: money follows the value, so it is never masked. `url` is the exact https address that the value names.
    `before` is what it was, if the call changes it: the value is then `before → after`. `by` and `before_by` say who
    wrote the value and `before`; None if these are words or numbers of this server.
    """

    label: str
    value: str
    note: str | None = None
    verbatim: bool = False
    url: str | None = None
    before: str | None = None
    by: Author | None = None
    before_by: Author | None = None

    @property
    def after(self) -> str:
        """What it is after the call."""
        return self.value if self.before is None else self.value.removeprefix(f"{self.before} → ")

    @property
    def origin(self) -> str:
        """Who wrote it, in words; empty if this server did."""
        if self.before is None or self.by == self.before_by:
            return AUTHORS[self.by] if self.by else ""
        ends = (("before the arrow", self.before_by), ("after it", self.by))
        return ", ".join(f"{place} {AUTHORS[author]}" for place, author in ends if author)

    def line(self, shown: Callable[[str], str] = str) -> str:
        """Return the value for a line of text: what others wrote is in quotes, and `shown` unless it is verbatim."""
        after = _quoted(self.after, self.by, str if self.verbatim else shown)
        return after if self.before is None else f"{_quoted(self.before, self.before_by, shown)} → {after}"

    @property
    def address(self) -> str:
        """The exact `url` after a space, if the value's line does not have it."""
        return f" {self.url}" if self.url and (self.by or self.url != self.value) else ""

    @property
    def remarks(self) -> str:
        """Who wrote it and what is unusual about it, in brackets after a space; empty if there is nothing to say."""
        found = "; ".join(part for part in (self.origin, self.note) if part)
        return f" ({found})" if found else ""


@dataclass(frozen=True, slots=True)
class ApprovalDetails:
    """`amount_cents` is money that leaves. If `limits_card`, the card has the limit `limit_*` after the call."""

    question: str
    items: tuple[Detail, ...] = ()
    amount_cents: int | None = None
    destination: Destination | None = None
    limits_card: bool = False
    limit_cents: int | None = None
    limit_frequency: str | None = None
    card_id: str | None = None
    sink: str | None = None
    only: Literal["page", "form", "desk"] | None = None
    """The only channel that can grant this, if the page that grants it also executes it. `desk`: a list at the desk."""
    protective: bool = False
    """As in `CallRequest`."""
    undoes: str | None = None
    """The journal entry of the lock that a person undoes at the desk. One approval does so."""
    seen: str | None = None
    """Digest of what Machines showed for the question. If it differs when the call runs, the call is refused."""
    seen_status: str | None = None
    """The same for the status of a card that the call does not change: a word that this server knows, or `other`."""
    valid_until: float | None = None
    """When the terms end, in seconds since the epoch. No approval outlives them."""
    hidden: tuple[str, ...] = ()
    """The names of the arguments that are not repeated to the model, for a process that did not get the call."""
    digests: Mapping[str, str] | None = field(default=None, compare=False)
    """A keyed digest of each argument that is not hidden; None if an earlier version wrote the row."""
    context: tuple[Detail, ...] = field(default=(), compare=False)
    """What helps to judge the call and can change while it waits, such as a balance. It is no part of the call."""
    earlier: EarlierCall | None = field(default=None, compare=False)
    """An equal call that made the same a short time before this one was requested."""
    identity: tuple[Detail, ...] = ()
    """Masked identity data for the person who approves. It is sealed, and not part of the stored details."""

    def expiry(self, latest: float) -> float:
        """Return when an approval of this call expires: at `latest` or, if that is earlier, when the call does."""
        return latest if self.valid_until is None else min(latest, self.valid_until)

    def shown_by(self, now: ApprovalDetails) -> bool:
        """Return whether Machines shows the same as before in what `now` has of it."""
        return self.seen == now.seen and self.seen_status in (None, now.seen_status)

    def masked(self) -> ApprovalDetails:
        """Return a copy with likely card numbers and national ids masked: text from outside may contain them.

        Text that money follows stays unchanged.
        """
        to = self.destination
        followed = [] if to is None else [part for part in (to.address, to.extra_id) if part]
        return replace(
            self,
            question=masked_texts([self.question], followed)[0],
            items=tuple(_masked(item, followed) for item in self.items),
            context=tuple(_masked(item, followed) for item in self.context),
            identity=tuple(_masked(item, ()) for item in self.identity),
        )

    def as_json(self) -> str:
        """Return the canonical JSON stored in the row, without the identity data."""
        values = {name: value for name, value in asdict(self).items() if name != "identity"}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ApprovalDetails:
        """Parse the output of `as_json`."""
        values = json.loads(text)
        items, context = (tuple(Detail(**item) for item in values.pop(name, ())) for name in ("items", "context"))
        hidden, destination = tuple(values.pop("hidden", ())), values.pop("destination", None)
        to, before = None if destination is None else Destination(**destination), values.pop("earlier", None)
        earlier = None if before is None else EarlierCall(**before)
        return cls(items=items, context=context, destination=to, hidden=hidden, earlier=earlier, **values)


def seen_digest(*texts: str) -> str:
    """Return the digest of what Machines shows, for `ApprovalDetails.seen`."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _quoted(text: str, author: Author | None, shown: Callable[[str], str]) -> str:
    return quoted(shown(text)) if author else text


def _masked(item: Detail, followed: Collection[str]) -> Detail:
    if item.verbatim or item.value in followed:
        return item
    if item.url is not None and masked_text(item.url) != item.url:
        # A link is exact or absent.
        return replace(item, value="not shown: the link contains digits like those of a card", url=None)
    value = masked_text(item.value)
    return item if item.value == value else replace(item, value=value, before=None)
