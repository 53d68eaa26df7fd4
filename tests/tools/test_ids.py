"""What the server hands out as an id, code or cursor, it takes back unchanged, down to the request it sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from machines_mcp.partner.models.assets import AssetList
from machines_mcp.partner.models.base import ResponseModel
from machines_mcp.partner.models.cards import Card, CardPage, CardQuery
from machines_mcp.partner.models.deposits import Deposit, DepositList, DepositRoute
from machines_mcp.partner.models.kyc import KycValues
from machines_mcp.partner.models.transactions import TransactionPage, TransactionQuery
from machines_mcp.partner.models.withdrawals import WithdrawalRoute
from machines_mcp.partner.resources.base import path_id
from machines_mcp.protocol.arguments import validate
from machines_mcp.tools.catalog import TOOLS
from tests.partner.test_any_response import fixed_examples
from tests.support.stdio_client import applicant

BY_NAME = {tool.name: tool for tool in TOOLS}
USER = {"user_id": "user-1"}


@dataclass(frozen=True)
class Handed:
    """A field of a response: how it is read, the arguments that take it, and how it is sent."""

    name: str
    model: type[ResponseModel]
    data: Callable[[Any], dict[str, Any]]
    found: Callable[[Any], Any]
    taken: tuple[tuple[str, str, dict[str, Any]], ...]
    sent: Callable[[str], object]


def _record_sent(value: str) -> str:
    return path_id(value, "id")


QUOTE = {"network": "base", "amount": 1}
PAYOUT = {"amount_cents": 500, "network": "base", "address": "0x" + "ab" * 20}
CARD_TOOLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("get_card", "card_id", {}),
    ("close_card", "card_id", {}),
    ("reveal_card", "card_id", {}),
    ("update_card", "card_id", {"status": "locked"}),
    ("list_transactions", "card_id", {}),
)
HANDED = [
    Handed("a card", Card, lambda v: {"cardId": v}, lambda m: m.card_id, CARD_TOOLS, _record_sent),
    Handed(
        "a listed card",
        CardPage,
        lambda v: {"cards": [{"cardId": v}]},
        lambda m: m.cards[0].card_id,
        CARD_TOOLS,
        lambda v: TransactionQuery(card_id=v),
    ),
    Handed(
        "a transaction's card",
        TransactionPage,
        lambda v: {"transactions": [{"cardId": v}]},
        lambda m: m.transactions[0].card_id,
        CARD_TOOLS,
        _record_sent,
    ),
    Handed(
        "a deposit", Deposit, lambda v: {"id": v}, lambda m: m.id, (("get_deposit", "deposit_id", {}),), _record_sent
    ),
    Handed(
        "a listed deposit",
        DepositList,
        lambda v: {"deposits": [{"id": v}]},
        lambda m: m.deposits[0].id,
        (("get_deposit", "deposit_id", {}),),
        _record_sent,
    ),
    Handed(
        "a cursor of cards",
        CardPage,
        lambda v: {"cards": [], "nextCursor": v},
        lambda m: m.next_cursor,
        (("list_cards", "cursor", {}),),
        lambda v: CardQuery(cursor=v),
    ),
    Handed(
        "a cursor of transactions",
        TransactionPage,
        lambda v: {"transactions": [], "nextCursor": v},
        lambda m: m.next_cursor,
        (("list_transactions", "cursor", {}),),
        lambda v: TransactionQuery(cursor=v),
    ),
    Handed(
        "a ticker",
        AssetList,
        lambda v: {"assets": [{"ticker": v}]},
        lambda m: m.assets[0].ticker,
        (
            ("quote_deposit", "currency", QUOTE),
            ("create_deposit", "currency", {"network": "base"}),
            ("quote_withdrawal", "currency", PAYOUT),
        ),
        lambda v: DepositRoute(currency=v, network="base"),
    ),
    Handed(
        "a network",
        AssetList,
        lambda v: {"assets": [{"networks": [{"id": v}]}]},
        lambda m: m.assets[0].networks[0].id,
        (("quote_deposit", "network", {"currency": "x", "amount": 1}),),
        lambda v: WithdrawalRoute(currency="x", network=v),
    ),
    Handed(
        "an occupation",
        KycValues,
        lambda v: {"fields": [], "occupations": [{"code": v}]},
        lambda m: m.occupations[0].code or None,
        (("submit_kyc", "occupation", applicant()),),
        lambda v: v,
    ),
]

_WORDS = st.text("aZ09._~:- /\\%?#\u00e9\u202e\n\u0661", min_size=1, max_size=20)
_IDS = st.text("abcXYZ0123456789._~-", min_size=1, max_size=130)


def ids(handed: Handed) -> str:
    return handed.name


@pytest.mark.parametrize("handed", HANDED, ids=ids)
def test_what_is_handed_out_is_taken_back(handed: Handed) -> None:
    given_out = []

    @fixed_examples(150)
    @given(_WORDS | _IDS | st.text(max_size=30) | st.integers(0, 2**53) | st.just("a" * 1025))
    @example("x" * 128)
    @example("a" * 64)
    @example("Az09._~-")
    @example("usdc")
    @example("49-3023")
    @example(50)
    def check(value: Any) -> None:
        try:
            read = handed.found(handed.model.model_validate(handed.data(value)))
        except ValueError:
            # A response without a usable id is malformed, so nothing is handed out.
            return
        if read is None:
            return
        given_out.append(read)
        for tool, argument, others in handed.taken:
            taken = validate(BY_NAME[tool], USER | others | {argument: str(read)}, None)
            assert getattr(taken, argument) == read
        handed.sent(str(read))

    check()
    assert given_out


def test_nothing_else_is_handed_out_to_be_given_back() -> None:
    """List the arguments that take an id or a cursor, so that a new one is added above."""
    listed = {argument for handed in HANDED for _, argument, _ in handed.taken}
    own = {"user_id", "quote_id", "withdrawal_id", "approval_id", "extra_id", "national_id", "source_chain_id"}
    named = {
        name
        for tool in TOOLS
        for name in tool.input_model.model_fields
        if name.endswith(("_id", "cursor", "currency", "network", "occupation"))
    }
    assert named - own - {"amount_currency"} == listed
