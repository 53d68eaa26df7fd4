"""A small model of the Partner API: users without restrictions, cards, withdrawals, deposits, and optional idempotency.

Effects are immediate and without faults; those belong to the network. Each resource stores the key and terms of its
request, which identify the requester.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

PAGE = 4
CONTRACT = "0x" + "ab" * 20
SIGNATURE_SECONDS = 600.0

Json = dict[str, Any]


@dataclass(frozen=True)
class ApiOptions:
    """Behavior that the documentation leaves open."""

    honours_keys: bool = True
    dates_cards: bool = True
    list_lag: float = 0.0
    """Seconds until a list shows a new resource."""
    signs_after: float = 1.0
    """Seconds from a withdrawal's request to its signature."""


@dataclass
class Resource:
    """The effect of a mutation. `terms` are the caller's choices, with labels in plain text."""

    kind: str
    id: str
    user: str
    key: str | None
    terms: str
    cents: int
    made_at: float
    shown: Json
    fields: Json = field(default_factory=dict)


class ApiError(Exception):
    """An error of the API: its status and code."""

    def __init__(self, status: int, code: str) -> None:
        self.status = status
        self.code = code


@dataclass
class VirtualRequest:
    """A received request."""

    method: str
    path: str
    query: Mapping[str, str]
    user: str
    key: str | None
    body: Json


class VirtualUpstream:
    """The partner's side. `clock` is in seconds since the epoch."""

    def __init__(self, habits: ApiOptions, clock: Callable[[], float]) -> None:
        self.habits = habits
        self.clock = clock
        self.things: list[Resource] = []
        self.changes: list[tuple[str, str, str]] = []
        """Kind, card and terms of each change of a card that took effect."""
        self.tokens: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._by_key: dict[tuple[str, str, str], Resource] = {}
        self._count = 0

    def created(self, kind: str) -> list[Resource]:
        """Return every resource of a kind, oldest first."""
        return [thing for thing in self.things if thing.kind == kind]

    def respond(self, asked: VirtualRequest) -> Json:
        """Execute a request and return its response.

        Raises:
            ApiError: The API rejects it.
        """
        head, *rest = asked.path.strip("/").split("/")
        plain = _PLAIN.get((asked.method, asked.path.strip("/")))
        if plain is not None:
            return plain(self, asked)
        if head == "cards" and len(rest) == 1:
            card = next((c for c in self.created("card") if c.id == rest[0] and c.user == asked.user), None)
            if card is None:
                raise ApiError(404, "not_found")
            return {"GET": _get, "PATCH": _patch, "DELETE": _delete}[asked.method](self, asked, card)
        raise ApiError(404, "not_found")

    def new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count:08d}"

    def encrypted(self, text: str) -> Json:
        """Encrypt a text. Equal texts encrypt differently."""
        self._count += 1
        field = {"v": 1, "iv": f"iv{self._count:06d}", "ct": f"ct{self._count:06d}"}
        self._labels[field["ct"]] = text  # type: ignore[index]
        return field

    def label(self, field: Json | None) -> str | None:
        """Decrypt a label."""
        return None if field is None else self._labels[field["ct"]]

    def create_once(self, asked: VirtualRequest, kind: str, terms: str, make: Callable[[], Resource]) -> Resource:
        """Return the resource already created under the key, if keys are honored; otherwise create one."""
        place = (kind, asked.user, asked.key or "")
        if self.habits.honours_keys and asked.key is not None and place in self._by_key:
            found = self._by_key[place]
            if found.terms != terms:
                raise ApiError(409, "idempotency_conflict")
            return found
        thing = self._by_key[place] = make()
        self.things.append(thing)
        return thing

    def listed(self, kind: str, user: str) -> list[Resource]:
        """Return what a list shows at this time, newest first."""
        seen = self.clock() - self.habits.list_lag
        return [thing for thing in self.created(kind)[::-1] if thing.user == user and thing.made_at <= seen]


def _terms(**terms: object) -> str:
    return json.dumps(terms, sort_keys=True)


def card_terms(limit: Json | None, label: str | None) -> str:
    """Return a card's terms as one value."""
    return _terms(limit=limit, label=label)


def pay_terms(cents: int, destination: Json) -> str:
    """Return a withdrawal's terms as one value."""
    return _terms(cents=cents, destination={name: value for name, value in destination.items() if value is not None})


def deposit_terms(amount: float | None) -> str:
    """Return a deposit's terms as one value."""
    return _terms(amount=amount)


def _session(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    token = f"token.{up.new_id('session')}"
    up.tokens[token] = asked.body["userId"]
    until = datetime.fromtimestamp(up.clock() + asked.body.get("ttlSeconds", 900), UTC)
    return {
        "sessionToken": token,
        "sessionId": f"id-of-{token}",
        "userId": asked.body["userId"],
        "expiresAt": until.isoformat(),
        "scopes": asked.body["scopes"],
    }


def _agreements(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    return {"agreements": [{"id": "agreement-1", "text": "All of it.", "links": []}], "accepted": True}


def _encrypt(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    return {"value": up.encrypted(asked.body["value"])}


def _decrypt(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    return {"value": up.label(asked.body["value"])}


def _create_card(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    name, limit = asked.body.get("encryptedName"), asked.body.get("limit")
    terms = card_terms(limit, up.label(name))

    def make() -> Resource:
        new = up.new_id("card")
        shown = {
            "cardId": new,
            "status": "active",
            "last4": new[-4:],
            "expirationMonth": 12,
            "expirationYear": 2031,
            "encryptedName": name,
            "limit": limit,
        }
        if up.habits.dates_cards:
            shown["createdAt"] = datetime.fromtimestamp(up.clock(), UTC).isoformat()
        cents = 0 if limit is None else limit["amountCents"]
        return Resource("card", new, asked.user, asked.key, terms, cents, up.clock(), shown)

    return up.create_once(asked, "card", terms, make).shown


def _list_cards(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    start, most = int(asked.query.get("cursor", 0)), min(PAGE, int(asked.query.get("limit", PAGE)))
    cards = up.listed("card", asked.user)
    more = str(start + most) if len(cards) > start + most else None
    return {"cards": [card.shown for card in cards[start : start + most]], "nextCursor": more}


def _get(up: VirtualUpstream, asked: VirtualRequest, card: Resource) -> Json:
    return card.shown


def _patch(up: VirtualUpstream, asked: VirtualRequest, card: Resource) -> Json:
    if card.shown["status"] == "canceled":
        raise ApiError(409, "conflict")
    card.shown |= asked.body
    up.changes.append(("change", card.id, json.dumps(asked.body, sort_keys=True)))
    return card.shown


def _delete(up: VirtualUpstream, asked: VirtualRequest, card: Resource) -> Json:
    if card.shown["status"] == "canceled":
        raise ApiError(404, "not_found")
    card.shown["status"] = "canceled"
    up.changes.append(("close", card.id, ""))
    return {"cardId": card.id, "status": "canceled"}


def _range(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    bounds = {"minAmountCents": 1, "maxAmountCents": 10_000_000}
    return {"range": _route() | bounds}


def _estimate(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    return {"estimate": _route() | {"estimatedToAmount": asked.body["amountCents"] / 100}}


def _route() -> Json:
    return {"fromCurrency": "rusd", "fromNetwork": "base", "toCurrency": "usdc", "toNetwork": "base"}


def _withdraw(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    cents = asked.body["amountCents"]
    terms = pay_terms(cents, asked.body["destination"])

    def make() -> Resource:
        new = up.new_id("withdrawal")
        shown = {"status": "pending", "retryAfterSeconds": 1}
        return Resource("withdrawal", new, asked.user, asked.key, terms, cents, up.clock(), shown)

    open_ones = [t for t in up.created("withdrawal") if (t.user, t.terms) == (asked.user, terms) and _unsigned(t)]
    # The vendor's own client polls with a new key each time, so the request must be identified by its terms.
    polled = open_ones[0] if open_ones and not up.habits.honours_keys else None
    found = polled or up.create_once(asked, "withdrawal", terms, make)
    if _unsigned(found) and up.clock() >= found.made_at + up.habits.signs_after:
        found.shown = {
            "status": "ready",
            "parameters": [
                CONTRACT,
                CONTRACT,
                str(cents * 10_000),
                asked.body["destination"]["address"],
                int(up.clock() + SIGNATURE_SECONDS),
                "",
                found.id,
            ],
            "expiresAt": datetime.fromtimestamp(up.clock() + SIGNATURE_SECONDS, UTC).isoformat(),
            "execution": {"chainId": 8453, "callTarget": CONTRACT, "callPath": "coordinator_v2"},
        }
    return found.shown


def _unsigned(thing: Resource) -> bool:
    return bool(thing.shown["status"] == "pending")


def _create_deposit(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    terms = deposit_terms(asked.body.get("amount"))

    def make() -> Resource:
        new = up.new_id("deposit")
        shown = {
            "id": new,
            "fromCurrency": asked.body["currency"],
            "fromNetwork": asked.body["network"],
            "depositAddress": f"address-of-{new}",
            "status": "pending",
            "createdAt": datetime.fromtimestamp(up.clock(), UTC).isoformat(),
        }
        return Resource("deposit", new, asked.user, asked.key, terms, 0, up.clock(), shown)

    return {"deposit": up.create_once(asked, "deposit", terms, make).shown}


def _list_deposits(up: VirtualUpstream, asked: VirtualRequest) -> Json:
    return {"deposits": [deposit.shown for deposit in up.listed("deposit", asked.user)]}


_PLAIN: dict[tuple[str, str], Callable[[VirtualUpstream, VirtualRequest], Json]] = {
    ("POST", "sessions"): _session,
    ("GET", "agreements"): _agreements,
    ("POST", "encryption/encrypt"): _encrypt,
    ("POST", "encryption/decrypt"): _decrypt,
    ("POST", "cards"): _create_card,
    ("GET", "cards"): _list_cards,
    ("POST", "withdrawals/range"): _range,
    ("POST", "withdrawals/estimate"): _estimate,
    ("POST", "withdrawals"): _withdraw,
    ("POST", "deposits"): _create_deposit,
    ("GET", "deposits"): _list_deposits,
}
