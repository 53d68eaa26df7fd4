"""Cards: created, listed, changed and closed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.sandbox_caller import SandboxClient, User

LABEL = {"v": 1, "iv": "Qz4f2m7Hk1P9x0ab", "ct": "bGFiZWwgb2YgdGhlIGV4YW1wbGUgd2l0aCB0YWc"}
LIMIT = {"amountCents": 2500, "frequency": "per30DayPeriod"}


@pytest.fixture
def user(partner: SandboxClient) -> User:
    return partner.ready_user()


def test_new_card_is_active_for_three_years_and_matches_the_request(user: User) -> None:
    card = user.call("POST", "/cards", {"encryptedName": LABEL, "limit": LIMIT}).data
    assert (card["status"], card["brand"], card["isPinned"]) == ("active", "VISA", False)
    assert (card["encryptedName"], card["limit"]) == (LABEL, LIMIT)
    assert re.fullmatch("[0-9]{4}", card["last4"])
    now = datetime.now(UTC)
    assert (card["expirationMonth"], card["expirationYear"]) == (now.month, now.year + 3)
    assert user.call("GET", f"/cards/{card['cardId']}").data == card


@pytest.mark.parametrize("raw", [None, b"", b"{}"])
def test_card_needs_no_body(user: User, raw: bytes | None) -> None:
    card = user.call("POST", "/cards", raw=raw).data
    assert (card["encryptedName"], card["limit"]) == (None, None)


def test_cards_are_listed_newest_first_by_page_for_their_user_only(partner: SandboxClient, user: User) -> None:
    assert user.call("GET", "/cards").data == {"cards": []}
    assert user.call("GET", "/cards").body["summary"] == "no cards"
    made = [user.new_card() for _ in range(5)]
    partner.ready_user().new_card()
    user.call("DELETE", f"/cards/{made[1]}")
    seen: list[str] = []
    query = {"limit": "2"}
    for size in (2, 2, 1):
        page = user.call("GET", "/cards", query=query).data
        assert len(page["cards"]) == size
        seen += [card["cardId"] for card in page["cards"]]
        query = {"limit": "2", "cursor": page.get("nextCursor", "")}
    assert seen == made[::-1]
    assert query["cursor"] == ""


@pytest.mark.parametrize(
    "frequency", ["perAuthorization", "per24HourPeriod", "per7DayPeriod", "perYearPeriod", "allTime"]
)
def test_limit_accepts_every_documented_frequency(user: User, frequency: str) -> None:
    limit = {"amountCents": 1, "frequency": frequency}
    assert user.call("POST", "/cards", {"limit": limit}).data["limit"] == limit


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limit": {"amountCents": 0, "frequency": "allTime"}}, "limit.amountCents"),
        ({"limit": {"amountCents": 10.0, "frequency": "allTime"}}, "limit.amountCents"),
        ({"limit": {"amountCents": 10}}, "limit.frequency"),
        ({"limit": {"amountCents": 10, "frequency": "daily"}}, "limit.frequency"),
        ({"limit": None}, "limit"),
        ({"encryptedName": "clear text"}, "encryptedName"),
        ({"encryptedName": LABEL | {"v": 2}}, "encryptedName.v"),
        ({"encryptedName": LABEL | {"iv": "c2hvcnQ"}}, "encryptedName.iv"),
        ({"encryptedName": LABEL | {"ct": "no+base64url/=="}}, "encryptedName.ct"),
    ],
)
def test_invalid_card_request_is_rejected_by_field(user: User, body: dict[str, Any], field: str) -> None:
    assert user.call("POST", "/cards", body).error == (400, "invalid_request", field)
    assert user.call("PATCH", f"/cards/{user.new_card()}", body).error == (400, "invalid_request", field)


def test_patch_changes_only_the_named_fields(user: User) -> None:
    card = user.call("POST", "/cards", {"encryptedName": LABEL, "limit": LIMIT}).data
    path = f"/cards/{card['cardId']}"
    assert user.call("PATCH", path, {"status": "locked"}).data == card | {"status": "locked"}
    assert user.call("PATCH", path, {"status": "active"}).data == card
    memo = LABEL | {"iv": "a" * 16}
    assert user.call("PATCH", path, {"encryptedMemo": memo}).data == card | {"encryptedMemo": memo}
    other = {"amountCents": 100, "frequency": "allTime"}
    changed = card | {"encryptedMemo": memo, "limit": other}
    assert user.call("PATCH", path, {"limit": other}).data == changed
    assert user.call("PATCH", path, {}).data == changed
    assert user.call("GET", path).data == changed


def test_card_can_not_return_to_not_activated(user: User) -> None:
    path = f"/cards/{user.new_card()}"
    assert user.call("PATCH", path, {"status": "not_activated"}).error == (409, "invalid_state", None)


@pytest.mark.parametrize("closing", [("DELETE", None), ("PATCH", {"status": "canceled"})])
def test_closing_is_permanent_and_idempotent(user: User, closing: tuple[str, Any]) -> None:
    path = f"/cards/{user.new_card()}"
    assert user.call(closing[0], path, closing[1]).status == 200
    first = user.call("DELETE", path).data
    assert first["status"] == "canceled"
    assert user.call("DELETE", path).data == first
    assert user.call("PATCH", path, {"status": "active"}).error == (409, "invalid_state", None)
    assert user.call("GET", path).data["status"] == "canceled"
