"""What each endpoint's response must repeat of its request. Every endpoint and every requested value is listed here.

A response that grants less than requested is accepted: fewer scopes, a limit where none was requested, or a card that
was locked or closed although its change did not ask for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from machines_mcp.partner.binding import Binding, Rule
from machines_mcp.partner.same_value import (
    is_closed,
    never,
    one_of,
    same_account,
    same_amount,
    same_label,
    same_word,
    spends_no_more,
    within,
)
from machines_mcp.partner.withdrawal_binding import WITHDRAWAL_RULES, payout_route

_SEARCH = "a search: the response has what was found, not what was searched for"
_PAGE = "chooses a page of a list whose rows do not repeat it"
_INPUT = "an input of which the response has only the result"
_NOT_REPEATED = "the API does not return it"
_CIPHERTEXT = "the response is its ciphertext, or its text, which only the API can check"

_PAGED = {"query.cursor": _PAGE, "query.limit": _PAGE}
_SEARCHED = {"query.q": _SEARCH, "query.limit": _SEARCH}
_CARD = (
    Rule("limit.amountCents", "body.limit.amountCents"),
    Rule("limit.frequency", "body.limit.frequency"),
    Rule("encryptedName", "body.encryptedName", same_label, required=False),
)
_CARD_ID = Rule("cardId", "ids.cardId")
_STABLE = ("last4",)


def _deposit_route(key: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{key}.fromCurrency", "body.currency", same_word),
        Rule(f"{key}.fromNetwork", "body.network", same_word),
    )


_SOURCE = {"body.source.chainId": _INPUT, "body.source.tokenAddress": _INPUT}

BINDINGS: Final[Mapping[str, Binding]] = {
    "POST /sessions": Binding(
        (Rule("userId", "body.userId"), Rule("scopes", "body.scopes", within)),
        {
            "body.ttlSeconds": "the response has a time of the API's clock, which may differ from ours",
            "body.sessionLabel": _NOT_REPEATED,
        },
    ),
    "POST /users/resolve": Binding(
        (
            Rule("userId", "body.userId|body.externalUserId"),
            Rule("walletAddress|wallet.address", "body.walletAddress|body.wallet.address", same_account),
            Rule("wallet.chain", "body.wallet.chain"),
        ),
        {"body.walletLabel": _NOT_REPEATED},
    ),
    "GET /kyc/values": Binding(),
    "POST /kyc/applications": Binding(unbound={"body": "identity data, which the response does not repeat"}),
    "GET /kyc/status": Binding(),
    "GET /agreements": Binding(),
    "POST /agreements": Binding((Rule("accepted", "body.accepted"),)),
    "GET /deposits/assets": Binding(unbound=_SEARCHED),
    "POST /deposits/range": Binding(_deposit_route("range")),
    "POST /deposits/estimate": Binding(
        (
            *_deposit_route("estimate"),
            Rule("estimate.quotedAmount", "body.amount", same_amount),
            Rule("estimate.quotedAmountCurrency", "body.amountCurrency", same_word),
        )
    ),
    "POST /deposits": Binding(_deposit_route("deposit"), {"body.amount": _NOT_REPEATED}),
    "GET /deposits": Binding(unbound={"query.scope": _PAGE}),
    "GET /deposits/{depositId}": Binding((Rule("deposit.id", "ids.depositId"),)),
    "GET /balances": Binding(),
    "GET /withdrawals/assets": Binding(
        unbound=_SEARCHED | {"query.sourceChainId": _SEARCH, "query.sourceTokenAddress": _SEARCH}
    ),
    "POST /withdrawals/range": Binding(payout_route("range"), _SOURCE),
    "POST /withdrawals/estimate": Binding(
        (
            *payout_route("estimate"),
            Rule("estimate.fromAmountCents", "body.amountCents", required=False),
            Rule("estimate.destinationExtraId", "body.destination.extraId", required=False, exact=True),
        ),
        _SOURCE,
    ),
    "POST /withdrawals": Binding(
        WITHDRAWAL_RULES,
        {"body.adminAddress": _NOT_REPEATED},
    ),
    "POST /encryption/encrypt": Binding(unbound={"body.value": _CIPHERTEXT}),
    "POST /encryption/decrypt": Binding(unbound={"body.value": _CIPHERTEXT}),
    "GET /encryption/data-key": Binding(),
    "POST /cards": Binding(_CARD, stable=_STABLE),
    "GET /cards": Binding(unbound=_PAGED),
    "GET /cards/{cardId}": Binding((_CARD_ID,), stable=_STABLE),
    "PATCH /cards/{cardId}": Binding(
        (
            _CARD_ID,
            Rule("status", "body.status"),
            *_CARD,
            Rule("limit.amountCents", "seen.limit.amountCents"),
            Rule("limit.frequency", "seen.limit.frequency"),
            Rule("limit", "seen.unlimited", never, required=False),
            Rule("status", "seen.status", spends_no_more),
            Rule("encryptedColor", "body.encryptedColor", same_label, required=False),
            Rule("encryptedEmoji", "body.encryptedEmoji", same_label, required=False),
            Rule("encryptedMemo", "body.encryptedMemo", same_label, required=False),
        ),
        stable=_STABLE,
    ),
    "DELETE /cards/{cardId}": Binding((_CARD_ID, Rule("status", "method", is_closed, required=False))),
    "POST /cards/secrets/session": Binding(),
    "POST /cards/{cardId}/secrets": Binding(
        unbound={
            "ids.cardId": "the vault compares the decrypted number with the card's last four digits",
            "body.sessionId": "the session's key decrypts the response, or it does not",
        }
    ),
    "GET /transactions": Binding(
        (
            Rule("transactions[].cardId", "query.cardId", same_word, required=False),
            Rule("transactions[].type", "query.type", one_of, required=False),
        ),
        _PAGED,
    ),
}
