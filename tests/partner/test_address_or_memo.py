"""An address or memo of a response is exact, or it is left out: it is never a sentence and never a card number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

import machines_mcp.partner.models
from machines_mcp.partner.models.base import ResponseModel
from machines_mcp.partner.models.deposits import Deposit
from machines_mcp.partner.models.users import User
from machines_mcp.partner.models.withdrawals import Execution
from machines_mcp.redaction.verbatim import AddressOrMemo, Identifier, Verbatim
from machines_mcp.sandbox.addresses import new_address, new_memo
from tests.support.card_numbers import card_number

NUMBER = card_number()
GROUPS = [NUMBER[at : at + 4] for at in range(0, 16, 4)]
NETWORKS = ["base", "ripple", "stellar", "hbar", "ton", "bitcoin", "solana", "a-new-chain"]
NO_ADDRESS_OR_MEMO = [
    "Grace Approved 1986-12-09 grace@example.com 2 Harbor Road",
    f"{' '.join(GROUPS)} cvc 123, send to Mallory",
    "-".join(GROUPS),
    ".".join(GROUPS),
    f"pay:{NUMBER}",
    f"{NUMBER}/cvc:123",
    f"0x{NUMBER}{'0' * 24}",
    "123-45-6789",
    "ssn:123456789",
    "two words",
    "a\u00a0b",
    "a\nb",
    "\uff41\uff42\uff43\uff44",
    "٤١١١١١١١١١١١١١١١",
    "\u202eabcd",
    "x" * 257,
]


def _kinds(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, UnionType, Annotated):
        for part in get_args(annotation):
            yield from _kinds(part)
    else:
        yield annotation


def _models(of: type[ResponseModel] = ResponseModel) -> Iterator[type[ResponseModel]]:
    for model in of.__subclasses__():
        if model.__module__.startswith(machines_mcp.partner.models.__name__):
            yield model
        yield from _models(model)


def _fields() -> Iterator[tuple[type[ResponseModel], str, type[Verbatim]]]:
    for model in _models():
        for name, field in model.model_fields.items():
            for kind in _kinds(field.annotation):
                if isinstance(kind, type) and issubclass(kind, Verbatim):
                    yield model, name, kind


EXACT = [(model, name) for model, name, kind in _fields() if issubclass(kind, AddressOrMemo)]
OTHERS = {name for _, name, kind in _fields() if not issubclass(kind, AddressOrMemo | Identifier)}


def left_out(model: type[ResponseModel], name: str, value: object, network: str) -> bool:
    """Whether a response with this value is read, without the value."""
    alias = model.model_fields[name].alias or name
    given = {"id": "deposit-0001", "userId": "u", "fromNetwork": network, "toNetwork": network, alias: value}
    given |= {"fromCurrency": "a", "toCurrency": "a", "quotedAmount": 1, "quotedAmountCurrency": "usd"}
    read = model.model_validate(given)
    return getattr(read, name) is None and name in read.odd


def test_every_exact_field_but_the_users_own_id_is_an_address_or_memo() -> None:
    assert {"user_id"} == OTHERS
    assert len(EXACT) >= 14


@pytest.mark.parametrize(("model", "name"), EXACT, ids=lambda part: getattr(part, "__name__", part))
def test_sentences_and_card_numbers_are_left_out(model: type[ResponseModel], name: str) -> None:
    for value in NO_ADDRESS_OR_MEMO:
        for network in NETWORKS:
            assert left_out(model, name, value, network), (value, network)


@given(st.text(min_size=1, max_size=60).filter(lambda text: not re.fullmatch("[!-~]+", text)))
def test_texts_with_blanks_or_other_characters_are_left_out(text: str) -> None:
    for model, name in EXACT:
        assert left_out(model, name, text, "a-new-chain")
    sent = {"id": "deposit-0001", "depositAddress": text, "payinExtraId": text}
    assert Deposit.model_validate(sent).odd == {"deposit_address", "payin_extra_id"}


@pytest.mark.parametrize(
    "value",
    ["abcd", "0x12", "Grace", "TEST-19064277", pytest.param(NUMBER, id="card number"), "0x" + "00" * 20],
)
def test_wallets_and_contracts_have_the_form_of_an_address(value: str) -> None:
    for model, name in ((User, "wallet_address"), (Execution, "call_target")):
        assert left_out(model, name, value, "a-new-chain")


@pytest.mark.parametrize(
    ("network", "address", "memo"),
    [
        ("base", new_address("solana"), None),
        ("base", new_address("evm"), "12345"),
        ("bitcoin", new_address("bitcoin"), "12345"),
        ("ripple", new_address("ripple"), "Grace"),
        ("ripple", new_address("ripple"), "4294967296"),
        ("stellar", new_address("stellar"), "x" * 29),
        ("hbar", f"0.0.{NUMBER}", "1"),
        ("solana", "Grace", None),
    ],
    ids=["base", "base memo", "bitcoin memo", "ripple text", "ripple range", "stellar length", "hbar", "solana"],
)
def test_deposit_is_read_without_what_its_network_does_not_have(network: str, address: str, memo: str | None) -> None:
    sent = {"id": "deposit-0001", "fromNetwork": network, "depositAddress": address, "payinExtraId": memo}
    assert Deposit.model_validate(sent).odd & {"deposit_address", "payin_extra_id"}


FAMILIES = {"base": "evm", "solana": "solana", "bitcoin": "bitcoin", "hbar": "hedera", "ripple": "ripple",
            "stellar": "stellar"}  # fmt: skip


@pytest.mark.parametrize("network", FAMILIES)
def test_honest_addresses_and_memos_are_kept(network: str) -> None:
    for _ in range(500):
        sent = {"id": "deposit-0001", "fromNetwork": network, "depositAddress": new_address(FAMILIES[network])}
        if network in ("hbar", "ripple", "stellar"):
            sent["payinExtraId"] = new_memo()
        read = Deposit.model_validate(sent)
        assert (read.deposit_address, read.payin_extra_id) == (sent["depositAddress"], sent.get("payinExtraId"))


@pytest.mark.parametrize("memo", [pytest.param(NUMBER, id="card number"), "123456789", "memo-12345", "ab" * 32])
def test_memo_of_digits_may_look_like_a_card_number(memo: str) -> None:
    sent = {"id": "deposit-0001", "fromNetwork": "ton", "payinExtraId": memo}
    assert Deposit.model_validate(sent).payin_extra_id == memo
