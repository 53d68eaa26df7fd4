from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from machines_mcp.partner import (
    Agreements,
    Balances,
    Card,
    CardPage,
    DataKey,
    Deposit,
    KycStatus,
    SecretsSession,
    Session,
    Transaction,
    Withdrawal,
)
from machines_mcp.partner.models.base import ResponseModel
from machines_mcp.redaction.secret import Secret

NOON = datetime(2026, 1, 16, 12, 0, tzinfo=UTC)
CARD = {"cardId": "card-0001", "status": "active", "last4": "0001", "expirationMonth": 1, "expirationYear": 2030}
BALANCES = {"spendingPower": 1, "creditLimit": 2, "pendingCharges": 3, "postedCharges": 4, "balanceDue": -5}


def expiry(value: object) -> datetime | None:
    return Withdrawal.model_validate({"status": "ready", "expiresAt": value}).expires_at


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-16T12:00:00Z",
        "2026-01-16T12:00:00.000Z",
        "2026-01-16T13:00:00+01:00",
        "2026-01-16T12:00:00",
        1768564800,
        1768564800.0,
        "1768564800",
    ],
)
def test_expiry_is_a_date_or_unix_seconds(value: object) -> None:
    read = expiry(value)
    assert read == NOON
    assert read is not None
    assert read.tzinfo is UTC


def test_missing_expiry_is_none() -> None:
    assert expiry(None) is None


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "",
        True,
        [],
        {},
        0,
        -1,
        1768564800000,
        1e300,
        "99999999999",
        "1999-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ],
    ids=str,
)
def test_invalid_expiry_is_left_out(value: object) -> None:
    read = Withdrawal.model_validate({"status": "ready", "expiresAt": value})
    assert (read.status, read.expires_at) == ("ready", None)
    assert read.odd == (frozenset() if value == "" else {"expires_at"})


SALTS = ["c2FsdA==", "0x" + "ab" * 32, list(range(32))]
ODD: list[Any] = [
    None,
    True,
    1.5,
    "",
    "0x",
    [],
    {},
    [[[]]],
    {"data": [{"salt": None}]},
    10**60,
    -1,
    "\u202e",
    "x" * 5000,
]


@pytest.mark.parametrize("value", [*SALTS, *ODD, {"data": "0xab", "salt": list(range(32))}], ids=repr)
def test_parameters_and_signature_are_the_json_as_it_came(value: Any) -> None:
    sent = {"status": "ready", "parameters": ["0xAbC", "007", 10**15, " 0x ", value], "signature": value}
    read = Withdrawal.model_validate(sent)
    assert (read.parameters, read.signature) == (sent["parameters"], None if value == "" else value)
    assert json.dumps(read.model_dump(mode="json")["parameters"]) == json.dumps(sent["parameters"])
    whole = Withdrawal.model_validate({"status": "ready", "parameters": value})
    assert json.dumps(whole.model_dump(mode="json")["parameters"]) == json.dumps(None if value == "" else value)


def test_undocumented_keys_of_a_signature_are_dropped() -> None:
    # They can hold anything, and everything that is kept is stored in the state folder.
    signature = {"data": "0xab", "holder": "A Name", "parameters": [{"salt": [1], "trace": {"ssn": "1"}}]}
    read = Withdrawal.model_validate({"status": "ready", "signature": signature})
    assert read.signature == {"data": "0xab", "parameters": [{"salt": [1]}]}


def test_unknown_enum_values_are_kept() -> None:
    withdrawal = Withdrawal.model_validate({"status": "queued", "execution": {"callPath": "starknet_v9"}})
    assert (withdrawal.status, withdrawal.execution and withdrawal.execution.call_path) == ("queued", "starknet_v9")
    status = KycStatus.model_validate({"status": "needs_selfie", "isTermsOfServiceAccepted": False})
    assert status.status == "needs_selfie"
    limit = {"amountCents": 5, "frequency": "perFullMoon"}
    card = Card.model_validate(CARD | {"status": "frozen", "limit": limit})
    assert (card.status, card.limit and card.limit.frequency) == ("frozen", "perFullMoon")
    deposit = Deposit.model_validate(
        {"id": "deposit-0001", "fromCurrency": "a", "fromNetwork": "b", "status": "sifting"}
    )
    assert deposit.status == "sifting"
    transaction = {"transactionId": "t", "type": "tip", "status": "s", "amountCents": -1, "currency": "USD"}
    assert Transaction.model_validate(transaction | {"createdAt": 1768564800}).type == "tip"


def test_unknown_fields_are_ignored() -> None:
    assert Card.model_validate(CARD | {"colour": "red"}) == Card.model_validate(CARD)


@pytest.mark.parametrize(("sent", "read"), [(9500, 9500), (-5, -5), (0, 0), (2500.0, 2500), (2**53 - 1, 2**53 - 1)])
def test_cents_are_integers(sent: float, read: int) -> None:
    balances = Balances.model_validate(BALANCES | {"spendingPower": sent})
    assert balances.spending_power == read
    assert type(balances.spending_power) is int


@pytest.mark.parametrize("sent", ["9500", True, 0.5, None, [1], 2**53, float("nan")], ids=str)
def test_other_cents_are_left_out(sent: object) -> None:
    balances = Balances.model_validate(BALANCES | {"spendingPower": sent})
    assert balances.spending_power is None
    assert balances.credit_limit == BALANCES["creditLimit"]


@pytest.mark.parametrize("sent", ["true", 1, 0, None, "yes"], ids=str)
def test_flag_is_true_or_false(sent: object) -> None:
    read = KycStatus.model_validate({"status": "approved", "isTermsOfServiceAccepted": sent})
    assert read.is_terms_of_service_accepted is None
    with pytest.raises(ValidationError):
        Agreements.model_validate({"agreements": [], "accepted": sent})


ODD_VALUES: dict[str, list[Any]] = {
    "last4": ["", "123", "12345", "12a4", "\u0661\u0662\u0663\u0664", 1234, None, [], " 1234"],
    "expirationMonth": [0, 13, -1, 1e300, 1.5, "1", True, None, 10**40],
    "expirationYear": [0, 30, 1999, 2200, 1e300, "2030", None, 10**40],
    "status": ["", None, 7, ["active"], {}],
    "isPinned": [None, "", 1, "yes"],
    "sortOrder": [None, "", 1e300, "1", True],
    "createdAt": ["", None, "soon", 1e300, -1, {}],
    "encryptedName": ["", [], {}, {"v": 1}, {"v": 1, "iv": "", "ct": ""}],
    "limit": ["", [], {}, {"amountCents": -1, "frequency": "allTime"}, {"amountCents": 1e300}],
    "brand": ["", 7, None],
    "folderId": ["", 7, "\u202e", "x" * 2000],
}


@pytest.mark.parametrize(
    ("field", "value"), [(name, value) for name in ODD_VALUES for value in ODD_VALUES[name]], ids=repr
)
def test_card_with_an_odd_field_is_the_card_without_that_field(field: str, value: Any) -> None:
    whole = Card.model_validate(CARD | {"brand": "VISA", "createdAt": 1768564800})
    read = Card.model_validate(CARD | {"brand": "VISA", "createdAt": 1768564800} | {field: value})
    names = {info.alias or name: name for name, info in Card.model_fields.items()}
    default = Card.model_fields[names[field]].default
    assert read.model_dump() == whole.model_dump() | {names[field]: default}
    optional = field not in ("isPinned", "sortOrder")
    assert read.odd == (frozenset() if value == "" or (value is None and optional) else {names[field]})


@pytest.mark.parametrize("odd", [None, 7, "card", [], {}, {"cardId": ""}, {"cardId": "../.."}, {"last4": 5}], ids=repr)
def test_odd_record_does_not_hide_the_others(odd: Any) -> None:
    page = CardPage.model_validate({"cards": [CARD, odd, CARD], "nextCursor": ""})
    assert [card.card_id for card in page.cards] == ["card-0001", None, "card-0001"]
    assert page.cards[1].last4 is None
    assert page.next_cursor is None


@pytest.mark.parametrize("missing", ["cardId"])
def test_card_without_its_id_is_malformed(missing: str) -> None:
    for value in ("", None, 5, "short", "a/b/c/d/e", "x" * 129):
        with pytest.raises(ValidationError):
            Card.model_validate(CARD | {missing: value})
    with pytest.raises(ValidationError):
        Card.model_validate({name: value for name, value in CARD.items() if name != missing})


@pytest.mark.parametrize(("sent", "read"), [(50, "50"), ("a b", "a b"), ("", None), ([1], None), ("x" * 1025, None)])
def test_cursor_is_text_or_a_number(sent: Any, read: str | None) -> None:
    page = CardPage.model_validate({"cards": [], "nextCursor": sent})
    assert page.next_cursor == read
    assert page.odd == ({"next_cursor"} if read is None and sent else frozenset())


@pytest.mark.parametrize(
    ("memo", "read"), [("40001", "40001"), (40001, "40001"), ("", None), (None, None), (1.5, None), ([40001], None)]
)
def test_memo_is_exact_or_odd(memo: Any, read: str | None) -> None:
    deposit = Deposit.model_validate({"id": "deposit-0001", "depositAddress": "0.0.1", "payinExtraId": memo})
    assert deposit.payin_extra_id == read
    assert ("payin_extra_id" in deposit.odd) is (memo not in ("", None) and read is None)


def test_models_are_immutable() -> None:
    card = Card.model_validate(CARD)
    with pytest.raises(ValidationError):
        setattr(card, "status", "locked")  # noqa: B010


SECRETIVE: list[tuple[type[ResponseModel], dict[str, Any]]] = [
    (
        Session,
        {"sessionToken": "canary", "sessionId": "s", "userId": "u", "scopes": [], "expiresAt": "2026-01-16T12:00:00Z"},
    ),
    (SecretsSession, {"sessionId": "canary", "secretKey": "canary"}),
    (DataKey, {"key": "canary", "nested": {"deep": ["canary"]}, "v": 1}),
]


@pytest.mark.parametrize(("kind", "data"), SECRETIVE)
def test_secret_in_a_response_is_never_printed(kind: type[ResponseModel], data: dict[str, Any]) -> None:
    answer = kind.model_validate(data)
    assert "canary" not in repr(answer) + str(answer) + f"{answer}"
    for mode in ("python", "json"):
        try:
            said = repr(answer.model_dump(mode=mode))
        except Exception as error:
            said = repr(error)
        assert "canary" not in said
    with pytest.raises(PydanticSerializationError) as caught:
        answer.model_dump_json()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("data", [{"sessionId": "canary", "secretKey": ""}, {"sessionId": "canary"}], ids=str)
def test_rejected_secret_is_not_quoted_in_the_error(data: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        SecretsSession.model_validate(data)
    assert "canary" not in str(caught.value)


def test_data_key_keeps_every_field_and_opens_only_explicitly() -> None:
    key: Any = DataKey.model_validate({"v": 1, "algorithm": "A256GCM", "key": "canary", "old": [{"key": "canary"}]})
    assert key.v == 1
    assert key.key == Secret("canary")
    assert key.old[0]["key"].expose() == "canary"
