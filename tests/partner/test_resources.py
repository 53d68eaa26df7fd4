from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio
import pytest

from machines_mcp.partner import (
    Balances,
    CardLimit,
    EncryptedField,
    KycAddress,
    KycApplication,
    PartnerClient,
    WithdrawalOrder,
    WithdrawalRoute,
    WithdrawalSource,
    errors,
)
from machines_mcp.partner.models.base import ResponseModel as Model
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.verbatim import Verbatim
from tests.contract.judge import EXAMPLES, contract
from tests.support.partner_upstream import PARTNER_KEY, ScriptedUpstream, good, http
from tests.support.waiting import PATIENCE

USER = "user-123"
CARD_ID = "5f0c9a3e-4c1b-4b1e-9d57-0b8a4f7a1c11"
LABEL = EncryptedField(v=1, iv="Qz4f2m7Hk1P9x0ab", ct="bGFiZWwgb2YgdGhlIGV4YW1wbGUgd2l0aCB0YWc")
TOKEN = "0x10b5Be494C2962A7B318aFB63f0Ee30b959D000b"
WALLET = "0x2B0f7f2F7c8e4c3D2D3B3f6A8F9b0c1d2e3f4a5b"
SOURCE = WithdrawalSource(chain_id=84532, token_address=TOKEN, contract_id="contract-0001")
LIMIT = CardLimit(amount_cents=5000, frequency="per30DayPeriod")
LABELS = {f"encrypted{part}": f"encrypted_{part.lower()}" for part in ("Name", "Color", "Emoji", "Memo")}
LABEL_CHANGES: dict[str, Any] = dict.fromkeys(LABELS.values(), LABEL)
ROUTE = WithdrawalRoute(currency="hbar", network="hbar", extra_id="40001", source=SOURCE)
ORDER = WithdrawalOrder(
    amount_cents=5000,
    currency="hbar",
    network="hbar",
    address="0.0.654321",
    extra_id="40001",
    source=SOURCE,
    admin_address=WALLET,
)
ADDRESS = {
    "line1": "1 Main Street",
    "city": "Springfield",
    "region": "IL",
    "postal_code": "62701",
    "country_code": "US",
}
PERSON: dict[str, Any] = {
    "first_name": "Ada",
    "last_name": "Approved",
    "birth_date": "1990-02-28",
    "national_id": "12-34-X",
    "country_of_issue": "us",
    "email": "ada@example.com",
    "occupation": "49-3023",
    "annual_salary": "<40k",
    "account_purpose": "testing",
    "expected_monthly_volume": "under $1k",
}


def application(**change: Any) -> KycApplication:
    return KycApplication(**(PERSON | {"address": KycAddress(**ADDRESS)} | change))


@dataclass(frozen=True)
class Endpoint:
    """A client method: its operation, the scopes it may request, and the body it must send."""

    operation: str
    call: Callable[[PartnerClient], Awaitable[Any]]
    scopes: tuple[str, ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None


ENDPOINTS = [
    Endpoint(
        "createSession",
        lambda c: c.sessions.open(USER, ["kyc.read", "kyc.write"], label="audit"),
        ("kyc.read", "kyc.write"),
    ),
    Endpoint(
        "resolveUser",
        lambda c: c.users.resolve(USER, wallet_address=WALLET, wallet_label="Main"),
        body={"userId": USER, "walletAddress": WALLET, "walletLabel": "Main"},
    ),
    Endpoint("getKycValues", lambda c: c.kyc.values(USER), ("kyc.read",)),
    Endpoint(
        "submitKycApplication",
        lambda c: c.kyc.submit(USER, application(phone_country_code="1", phone_number="4155551234")),
        ("kyc.write",),
        body={
            "firstName": "Ada",
            "lastName": "Approved",
            "birthDate": "1990-02-28",
            "nationalId": "12-34-X",
            "countryOfIssue": "us",
            "email": "ada@example.com",
            "address": {
                "line1": "1 Main Street",
                "city": "Springfield",
                "region": "IL",
                "postalCode": "62701",
                "countryCode": "US",
            },
            "phoneCountryCode": "1",
            "phoneNumber": "4155551234",
            "occupation": "49-3023",
            "annualSalary": "<40k",
            "accountPurpose": "testing",
            "expectedMonthlyVolume": "under $1k",
        },
    ),
    Endpoint("getKycStatus", lambda c: c.kyc.status(USER), ("kyc.read",)),
    Endpoint("getAgreements", lambda c: c.agreements.get(USER), ("kyc.read",)),
    Endpoint(
        "acceptAgreements", lambda c: c.agreements.accept(USER), ("kyc.read", "kyc.write"), body={"accepted": True}
    ),
    Endpoint(
        "listDepositAssets",
        lambda c: c.deposits.assets(USER, q="us d", limit=5),
        ("deposits.read",),
        query=(("q", "us d"), ("limit", "5")),
    ),
    Endpoint(
        "getDepositRange",
        lambda c: c.deposits.range(USER, "hbar", "hbar"),
        ("deposits.read",),
        body={"currency": "hbar", "network": "hbar"},
    ),
    Endpoint(
        "estimateDeposit",
        lambda c: c.deposits.estimate(USER, "hbar", "hbar", 250, "crypto"),
        ("deposits.read",),
        body={"currency": "hbar", "network": "hbar", "amount": 250, "amountCurrency": "crypto"},
    ),
    Endpoint(
        "createDeposit",
        lambda c: c.deposits.create(USER, "hbar", "hbar", amount=250),
        ("deposits.write",),
        body={"currency": "hbar", "network": "hbar", "amount": 250},
    ),
    Endpoint("getDeposit", lambda c: c.deposits.get(USER, "deposit-0001"), ("deposits.read",)),
    Endpoint(
        "listDeposits", lambda c: c.deposits.list(USER, scope="all"), ("deposits.read",), query=(("scope", "all"),)
    ),
    Endpoint("getBalances", lambda c: c.balances.get(USER), ("deposits.read",)),
    Endpoint(
        "listWithdrawalAssets",
        lambda c: c.withdrawals.assets(USER, q="h", limit=1, source_chain_id=84532, source_token_address="0xabc"),
        ("deposits.read",),
        query=(("q", "h"), ("limit", "1"), ("sourceChainId", "84532"), ("sourceTokenAddress", "0xabc")),
    ),
    Endpoint(
        "getWithdrawalRange",
        lambda c: c.withdrawals.range(USER, ROUTE),
        ("deposits.read",),
        body={
            "destination": {"currency": "hbar", "network": "hbar"},
            "source": {"chainId": 84532, "tokenAddress": TOKEN},
        },
    ),
    Endpoint(
        "estimateWithdrawal",
        lambda c: c.withdrawals.estimate(USER, ROUTE, 5000),
        ("deposits.read",),
        body={
            "destination": {"currency": "hbar", "network": "hbar", "extraId": "40001"},
            "amountCents": 5000,
            "source": {"chainId": 84532, "tokenAddress": TOKEN},
        },
    ),
    Endpoint(
        "createWithdrawal",
        lambda c: c.withdrawals.create(USER, ORDER, idempotency_key="request-0001"),
        ("withdrawals.write",),
        body={
            "amountCents": 5000,
            "destination": {"currency": "hbar", "network": "hbar", "address": "0.0.654321", "extraId": "40001"},
            "source": {"chainId": 84532, "tokenAddress": TOKEN, "contractId": "contract-0001"},
            "adminAddress": WALLET,
        },
    ),
    Endpoint(
        "encryptLabel", lambda c: c.encryption.encrypt(USER, "Füße"), ("encryption.write",), body={"value": "Füße"}
    ),
    Endpoint(
        "decryptLabel",
        lambda c: c.encryption.decrypt(USER, LABEL),
        ("encryption.read",),
        body={"value": LABEL.model_dump()},
    ),
    Endpoint("getDataKey", lambda c: c.encryption.data_key(USER), ("encryption.read",)),
    Endpoint(
        "createCard",
        lambda c: c.cards.create(USER, encrypted_name=LABEL, limit=LIMIT),
        ("cards.write",),
        body={"encryptedName": LABEL.model_dump(), "limit": {"amountCents": 5000, "frequency": "per30DayPeriod"}},
    ),
    Endpoint(
        "listCards",
        lambda c: c.cards.list(USER, cursor="cursor-0001", limit=100),
        ("cards.read",),
        query=(("cursor", "cursor-0001"), ("limit", "100")),
    ),
    Endpoint("getCard", lambda c: c.cards.get(USER, CARD_ID), ("cards.read",)),
    Endpoint(
        "updateCard",
        lambda c: c.cards.update(USER, CARD_ID, status="locked", limit=LIMIT, **LABEL_CHANGES),
        ("cards.write",),
        body={
            "status": "locked",
            "limit": {"amountCents": 5000, "frequency": "per30DayPeriod"},
            **dict.fromkeys(LABELS, LABEL.model_dump()),
        },
    ),
    Endpoint("deleteCard", lambda c: c.cards.delete(USER, CARD_ID), ("cards.write",)),
    Endpoint("createSecretsSession", lambda c: c.cards.secrets_session(USER), ("cards.secrets.read",), body={}),
    Endpoint(
        "getCardSecrets",
        lambda c: c.cards.secrets(USER, CARD_ID, Secret("secrets+session/0001==")),
        ("cards.secrets.read",),
        body={"sessionId": "secrets+session/0001=="},
    ),
    Endpoint(
        "listTransactions",
        lambda c: c.transactions.list(USER, cursor="c", limit=2, card_id=CARD_ID, types=["spend", "fee"]),
        ("transactions.read",),
        query=(("cursor", "c"), ("limit", "2"), ("cardId", CARD_ID), ("type", "spend,fee")),
    ),
]


def example(operation: str) -> dict[str, Any]:
    response: dict[str, Any] = json.loads((EXAMPLES / f"{operation}.json").read_text(encoding="utf-8"))["response"]
    return response


def equals(ours: Any, theirs: Any) -> bool:
    """Whether a model's value equals the JSON's, with nothing lost or changed."""
    if isinstance(ours, Secret):
        return ours.expose() == theirs
    if isinstance(ours, Verbatim):
        return isinstance(theirs, str) and ours == theirs
    if isinstance(ours, datetime):
        return ours == datetime.fromisoformat(theirs)
    if isinstance(ours, Model):
        names = {field.alias or name: name for name, field in type(ours).model_fields.items()}
        return all(equals(getattr(ours, names.get(key, key)), value) for key, value in theirs.items())
    if isinstance(ours, tuple | list):
        return len(ours) == len(theirs) and all(map(equals, ours, theirs))
    return type(ours) in (type(theirs), float) and bool(ours == theirs)


def only_value(data: dict[str, Any]) -> Any:
    wrapped = set(data) in ({"range"}, {"estimate"}, {"deposit"}, {"balances"}, {"value"})
    return next(iter(data.values())) if wrapped else data


def test_every_operation_of_the_contract_has_a_method() -> None:
    assert sorted(endpoint.operation for endpoint in ENDPOINTS) == sorted(
        operation.operation_id for operation in contract().operations
    )


@pytest.mark.anyio
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation)
async def test_method_sends_its_arguments_and_returns_the_whole_response(
    api: ScriptedUpstream, endpoint: Endpoint
) -> None:
    operation = next(op for op in contract().operations if op.operation_id == endpoint.operation)
    path = operation.template.replace("{depositId}", "deposit-0001").replace("{cardId}", CARD_ID)
    response = example(endpoint.operation)
    api.on(operation.method, path, http(response["status"], json.dumps(response["body"]).encode()))
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, card_secrets=True) as client:
        with anyio.fail_after(PATIENCE):
            answer = await endpoint.call(client)
    assert equals(answer, only_value(response["body"]["data"]))

    last = api.seen[-1]
    assert (last.method, last.path) == (operation.method, path)
    if endpoint.operation != "createSession":
        assert last.body == endpoint.body
        assert tuple(last.query.items()) == endpoint.query
        assert api.scopes_of.get(last.token, ()) == endpoint.scopes
    keyed = any(parameter["name"] == "Idempotency-Key" for parameter in operation.parameters)
    assert ("idempotency-key" in last.headers) is keyed


@pytest.mark.anyio
async def test_every_creation_has_its_own_idempotency_key_by_default(
    api: ScriptedUpstream, client: PartnerClient
) -> None:
    api.on("POST", "/cards", http(200, json.dumps(example("createCard")["body"]).encode()))
    await client.cards.create(USER)
    await client.cards.create(USER)
    await client.cards.create(USER, idempotency_key="request-0001")
    first, second, third = [seen.headers["idempotency-key"] for seen in api.calls]
    assert first != second
    assert third == "request-0001"


@pytest.mark.anyio
async def test_card_without_options_has_an_empty_body(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("POST", "/cards", http(200, json.dumps(example("createCard")["body"]).encode()))
    await client.cards.create(USER)
    assert api.calls[0].body == {}


@pytest.mark.anyio
async def test_next_step_is_beside_the_result_and_in_no_dump(api: ScriptedUpstream, client: PartnerClient) -> None:
    balances = example("getBalances")["body"]["data"]
    hint = {"pollAfterMs": 1500, "suggestedTool": "get_deposit", "suggestedArgs": {"id": "x"}, "new": 1}
    api.on("GET", "/balances", good(balances, next=hint), good(balances, next={"pollAfterMs": "soon"}), good(balances))
    hinted, nonsense, plain = [await client.balances.get(USER) for _ in range(3)]
    assert hinted.hint is not None
    assert (hinted.hint.poll_after_ms, hinted.hint.suggested_tool) == (1500, "get_deposit")
    assert hinted.hint.suggested_args == {"id": "x"}
    assert nonsense.hint is None
    assert plain.hint is None
    assert hinted.model_dump() == plain.model_dump()
    assert set(Balances.model_json_schema()["properties"]) == set(balances["balances"])


REFUSED: list[tuple[str, Callable[[PartnerClient], Awaitable[Any]], str]] = [
    ("no user", lambda c: c.cards.list(""), "user_id"),
    (
        "a wallet with a wrong checksum",
        lambda c: c.users.resolve(USER, wallet_address=WALLET[:-1] + WALLET[-1].swapcase()),
        "wallet_address",
    ),
    ("a wallet that is none", lambda c: c.users.resolve(USER, wallet_address="0x12"), "wallet_address"),
    (
        "a Solana wallet on no chain",
        lambda c: c.users.resolve(USER, wallet_address="4Nd1mYvWw3Yb6Wk1iV8J5cCqgUX3b7z2nQkq7rZ5tZzP"),
        "wallet_address",
    ),
    (
        "an EVM wallet on Solana",
        lambda c: c.users.resolve(USER, wallet_address=WALLET, wallet_chain="solana"),
        "wallet_address",
    ),
    ("a long wallet label", lambda c: c.users.resolve(USER, wallet_label="x" * 121), "wallet_label"),
    ("a long user", lambda c: c.users.resolve("u" * 121), "user_id"),
    ("an empty search", lambda c: c.deposits.assets(USER, q=""), "q"),
    ("a search that can not be written", lambda c: c.deposits.assets(USER, q="\ud800"), "q"),
    ("no assets", lambda c: c.deposits.assets(USER, limit=0), "limit"),
    ("all assets", lambda c: c.withdrawals.assets(USER, limit=101), "limit"),
    ("no chain", lambda c: c.withdrawals.assets(USER, source_chain_id=0), "source_chain_id"),
    ("no currency", lambda c: c.deposits.range(USER, "", "base"), "currency"),
    ("a currency with a blank", lambda c: c.deposits.range(USER, "us d", "base"), "currency"),
    ("a network beyond ASCII", lambda c: c.deposits.range(USER, "usd", "bäse"), "network"),
    ("nothing to estimate", lambda c: c.deposits.estimate(USER, "rusd", "base", 0), "amount"),
    ("less than nothing", lambda c: c.deposits.estimate(USER, "rusd", "base", -1), "amount"),
    ("no number", lambda c: c.deposits.estimate(USER, "rusd", "base", float("nan")), "amount"),
    ("infinity", lambda c: c.deposits.create(USER, "rusd", "base", amount=float("inf")), "amount"),
    ("an amount as text", lambda c: c.deposits.create(USER, "rusd", "base", amount="5"), "amount"),  # type: ignore[arg-type]
    ("an amount as bool", lambda c: c.deposits.create(USER, "rusd", "base", amount=True), "amount"),
    ("a short key", lambda c: c.deposits.create(USER, "rusd", "base", idempotency_key="k" * 7), "idempotency_key"),
    ("a long key", lambda c: c.cards.create(USER, idempotency_key="k" * 129), "idempotency_key"),
    ("a key with a line", lambda c: c.cards.create(USER, idempotency_key="key\r\nX: y"), "idempotency_key"),
    ("no key", lambda c: c.withdrawals.create(USER, ORDER, idempotency_key=""), "idempotency_key"),
    ("a short deposit id", lambda c: c.deposits.get(USER, "1234567"), "deposit_id"),
    ("a deposit id with a path", lambda c: c.deposits.get(USER, "../balances"), "deposit_id"),
    ("a deposit id with a query", lambda c: c.deposits.get(USER, "12345678?a=b"), "deposit_id"),
    ("a card id with a path", lambda c: c.cards.delete(USER, "12345678/secrets"), "card_id"),
    ("a card id in percents", lambda c: c.cards.get(USER, "%2e%2e%2fbalances"), "card_id"),
    ("a card id with a line", lambda c: c.cards.get(USER, "12345678\n"), "card_id"),
    ("a card id without end", lambda c: c.cards.get(USER, "1" * 129), "card_id"),
    ("another scope", lambda c: c.deposits.list(USER, scope="mine"), "scope"),  # type: ignore[arg-type]
    ("an amount of no cents", lambda c: c.withdrawals.estimate(USER, ROUTE, 0), "amount_cents"),
    ("half a cent", lambda c: c.withdrawals.estimate(USER, ROUTE, 0.5), "amount_cents"),  # type: ignore[arg-type]
    ("no text", lambda c: c.encryption.encrypt(USER, ""), "value"),
    ("a long text", lambda c: c.encryption.encrypt(USER, "x" * 1001), "value"),
    ("a label in base64", lambda c: c.encryption.decrypt(USER, EncryptedField(v=1, iv="+/==", ct="a")), "iv"),
    ("nothing to change", lambda c: c.cards.update(USER, CARD_ID), "status"),
    ("an unknown status", lambda c: c.cards.update(USER, CARD_ID, status="gone"), "status"),  # type: ignore[arg-type]
    ("a cursor of two lines", lambda c: c.cards.list(USER, cursor="a\nb"), "cursor"),
    ("too many cards", lambda c: c.cards.list(USER, limit=101), "limit"),
    ("too many movements", lambda c: c.transactions.list(USER, limit=200), "limit"),
    ("no id", lambda c: c.transactions.list(USER, card_id="card/0001"), "card_id"),
    ("an unknown type", lambda c: c.transactions.list(USER, types=["spend,fee"]), "types"),  # type: ignore[list-item]
]


@pytest.mark.anyio
@pytest.mark.parametrize(("call", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_invalid_arguments_are_rejected_before_sending(
    api: ScriptedUpstream, client: PartnerClient, call: Callable[[PartnerClient], Awaitable[Any]], field: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        await call(client)
    error = caught.value
    assert (error.field, error.status, error.outcome_known, error.retryable) == (field, None, True, False)
    assert error.__context__ is None
    assert api.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize("session_id", ["", "two words", "line\n", "ü", "x" * 8193])
async def test_invalid_secrets_session_is_not_sent(
    api: ScriptedUpstream, client: PartnerClient, session_id: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        await client.cards.secrets(USER, CARD_ID, Secret(session_id))
    assert caught.value.field == "session_id"
    assert api.connections == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"first_name": ""}, "first_name"),
        ({"first_name": "A" * 51}, "first_name"),
        ({"last_name": "Tab\tbed"}, "last_name"),
        ({"birth_date": "1990-02-30"}, "birth_date"),
        ({"birth_date": "2999-01-01"}, "birth_date"),
        ({"birth_date": "1899-12-31"}, "birth_date"),
        ({"first_name": "Ada\n"}, "first_name"),
        ({"last_name": "Love\u202elace"}, "last_name"),
        ({"birth_date": "28.02.1990"}, "birth_date"),
        ({"birth_date": "1990-02-28T00:00:00"}, "birth_date"),
        ({"national_id": "123 45"}, "national_id"),
        ({"national_id": ""}, "national_id"),
        ({"national_id": None}, "national_id"),
        ({"country_of_issue": "USA"}, "country_of_issue"),
        ({"country_of_issue": "UK"}, "country_of_issue"),
        ({"country_of_issue": "ZZ"}, "country_of_issue"),
        ({"email": "ada"}, "email"),
        ({"email": "ada@example"}, "email"),
        ({"email": "a da@example.com"}, "email"),
        ({"phone_country_code": "+1"}, "phone_country_code"),
        ({"phone_country_code": "٣"}, "phone_country_code"),
        ({"phone_country_code": "999"}, "phone_country_code"),
        ({"phone_number": "4" * 16}, "phone_number"),
        ({"phone_country_code": "44", "phone_number": "02079460958"}, "phone_number"),
        ({"phone_country_code": "1", "phone_number": "5550100"}, "phone_number"),
        ({"occupation": ""}, "occupation"),
        ({"annual_salary": ""}, "annual_salary"),
        ({"account_purpose": None}, "account_purpose"),
        ({"expected_monthly_volume": 5}, "expected_monthly_volume"),
        ({"address": {"line1": "x"}}, "city"),
        ({"address": "1 Main Street"}, "address"),
        ({"canary": "1"}, None),
    ],
)
def test_invalid_application_is_rejected_by_field_without_its_value(change: dict[str, Any], field: str | None) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        application(**change)
    assert caught.value.field == field
    assert caught.value.__context__ is None
    assert str(caught.value) == errors.InvalidRequest.sentence


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"line1": ""}, "line1"),
        ({"city": "x" * 201}, "city"),
        ({"country_code": "U5"}, "country_code"),
        ({"country_code": "ZZ"}, "country_code"),
    ],
)
def test_invalid_address_is_rejected_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        KycAddress(**(ADDRESS | change))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "make",
    [
        lambda: CardLimit(amount_cents=0, frequency="allTime"),
        lambda: WithdrawalOrder(amount_cents=0, currency="a", network="b", address="c"),
    ],
)
def test_zero_amount_is_rejected(make: Callable[[], object]) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        make()
    assert caught.value.field == "amount_cents"


@pytest.mark.parametrize("address", ["", "0x 12", "0x12\n", "0х12", "x" * 257])  # noqa: RUF001
def test_ambiguous_address_is_rejected(address: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        WithdrawalOrder(amount_cents=1, currency="a", network="b", address=address)
    assert caught.value.field == "address"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"address": "0.0.0"}, "address"),
        ({"address": WALLET}, "address"),
        ({"network": "base"}, "address"),
        ({"network": "base", "address": WALLET}, "extra_id"),
        ({"network": "base", "extra_id": None, "address": WALLET[:-1] + WALLET[-1].swapcase()}, "address"),
        ({"extra_id": "x" * 101}, "extra_id"),
        ({"admin_address": "0x" + "0" * 40}, "admin_address"),
    ],
)
def test_order_that_can_be_known_to_be_wrong_is_rejected(change: dict[str, Any], field: str) -> None:
    terms = ORDER.model_dump(exclude={"source"}) | change
    with pytest.raises(errors.InvalidRequest) as caught:
        WithdrawalOrder(**terms)
    assert caught.value.field == field
