from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import BaseModel

from machines_mcp.partner import AssetList, Balances, Card, CardPage, DataKey, DepositRange, Session, User, Withdrawal
from machines_mcp.partner.schema_diff import Differences, differences
from tests.partner.test_resources import example

CARD: dict[str, Any] = {
    "cardId": "card-0001",
    "status": "active",
    "last4": "0001",
    "expirationMonth": 1,
    "expirationYear": 2030,
}
PAGE = {"cards": [CARD, CARD], "nextCursor": None}


def cards(**change: Any) -> dict[str, Any]:
    """Return a page whose second card has these values; `...` removes the field."""
    page = copy.deepcopy(PAGE)
    second: dict[str, Any] = page["cards"][1]  # type: ignore[index]
    second |= change
    for name in [name for name, value in change.items() if value is ...]:
        del second[name]
    return page


@pytest.mark.parametrize(
    ("kind", "data", "inside", "expected"),
    [
        (CardPage, PAGE, None, Differences()),
        (CardPage, {"cards": []}, None, Differences()),
        (CardPage, {}, None, Differences(missing=("cards",))),
        (CardPage, {"cards": {}}, None, Differences(mistyped=("cards",))),
        (CardPage, {"cards": ["x", 1]}, None, Differences(mistyped=("cards[]",))),
        (CardPage, cards(last4=...), None, Differences(missing=("cards[].last4",))),
        (CardPage, cards(last4=4242), None, Differences(mistyped=("cards[].last4",))),
        (CardPage, cards(last4=None), None, Differences(mistyped=("cards[].last4",))),
        (CardPage, cards(createdAt="soon"), None, Differences(mistyped=("cards[].createdAt",))),
        (CardPage, cards(color="red"), None, Differences(extra=("cards[].color",))),
        (CardPage, cards(limit={"frequency": 1}), None,
         Differences(missing=("cards[].limit.amountCents",), mistyped=("cards[].limit.frequency",))),
        (CardPage, cards(limit={"amountCents": 1, "frequency": "weekly", "per": 1}), None,
         Differences(extra=("cards[].limit.per",))),
        (CardPage, cards(**{"4111-canary": 1, "ü": 2}), None, Differences(extra=("cards[].?",))),
        (CardPage, cards(card_id="x"), None, Differences(extra=("cards[].card_id",))),
        (Withdrawal, {"status": "ready", "execution": {"callTarget": 1, "v": 2}}, None,
         Differences(extra=("execution.v",), mistyped=("execution.callTarget",))),
        (Withdrawal, {"status": "ready", "signature": {"v": 2}, "parameters": [[1]]}, None, Differences()),
        (AssetList, {"assets": [{"ticker": "x", "networks": [{"label": "y"}]}]}, None,
         Differences(missing=("assets[].networks[].id",))),
        (Balances, {"balance": {}}, "balances", Differences(missing=("balances",), extra=("balance",))),
        (Balances, {"balances": 5, "more": 1}, "balances", Differences(mistyped=("balances",), extra=("more",))),
        (DepositRange, {"range": {"fromCurrency": "x"}}, "range", Differences(missing=("range.fromNetwork",))),
        (DataKey, {"anything": {"at": "all"}}, None, Differences()),
    ],
)  # fmt: skip
def test_difference_is_reported_by_its_path(
    kind: type[BaseModel], data: dict[str, Any], inside: str | None, expected: Differences
) -> None:
    assert differences(kind, data, key=inside) == expected


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        (Card, "getCard"),
        (CardPage, "listCards"),
        (Session, "createSession"),
        (User, "resolveUser"),
        (Withdrawal, "createWithdrawal"),
    ],
)
def test_contracts_own_responses_have_no_differences(kind: type[BaseModel], operation: str) -> None:
    assert differences(kind, example(operation)["body"]["data"]) == Differences()
