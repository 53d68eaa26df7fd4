"""Every endpoint's response is compared with its request: walks over all endpoints, all requested values, all rules."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.partner import Card, CardLimit, PartnerError
from machines_mcp.partner.binding import Rule, read
from machines_mcp.partner.endpoint_bindings import BINDINGS
from machines_mcp.partner.envelope import Envelope
from machines_mcp.partner.errors import Malformed, Mismatch
from machines_mcp.partner.request import Request
from machines_mcp.partner.response_check import ResponseCheck
from machines_mcp.partner.same_value import (
    has_one_transaction,
    is_account,
    is_closed,
    is_text,
    never,
    same_cents_on_chain,
)
from tests.contract.judge import contract
from tests.partner.schema import JSON
from tests.partner.test_any_response import KEPT, each_method, fixed_examples
from tests.partner.test_resources import ENDPOINTS, Endpoint, example
from tests.support.fake_api import FakeApi
from tests.support.fitted_responses import assign, binding_of

PARAMETERS = ("parameters", "signature.parameters")
LINK = next(endpoint for endpoint in ENDPOINTS if endpoint.operation == "resolveUser")
SOLANA_WALLET = "4Nd1mYvWw3Yb6Wk1iV8J5cCqgUX3b7z2nQkq7rZ5tZzP"
SOLANA_LINK = Endpoint(
    "resolveUser",
    lambda c: c.users.resolve("user-123", wallet_address=SOLANA_WALLET, wallet_chain="solana"),
)
FORMS = [*ENDPOINTS, SOLANA_LINK]
"""Each endpoint, and the second form of the request that links a wallet."""
# One value of each type, and those that look like what they replace.
LABEL = {"v": 1, "iv": "Qz4f2m7Hk1P9x0ab", "ct": "b3RoZXI"}
WIDER = ["kyc.read", "cards.secrets.read"]
OTHERS: list[Any] = [
    "another-value",
    "0x" + "9a" * 20,
    "",
    None,
    0,
    1,
    -1,
    4096,
    1.5,
    1e300,
    True,
    False,
    [],
    {},
    WIDER,
    LABEL,
    "active",
    {"data": {"parameters": []}},
]


def leaves(value: Any, path: str) -> Iterator[str]:
    """Yield the path of every value in a request's body."""
    if not isinstance(value, dict):
        yield path
        return
    # An encrypted label is one value.
    if set(value) == {"v", "iv", "ct"}:
        yield path
        return
    for name, inner in value.items():
        yield from leaves(inner, f"{path}.{name}")


def requested(request: Request) -> set[str]:
    paths = {f"ids.{name}" for name in request.ids} | {f"query.{name}" for name in request.query}
    return paths | (set(leaves(request.body, "body")) if request.body else set())


def is_listed(path: str, listed: set[str]) -> bool:
    """Whether a requested value, or the object it is in, is listed."""
    parts = path.split(".")
    return any(".".join(parts[:size]) in listed for size in range(1, len(parts) + 1))


def test_every_endpoint_has_a_binding() -> None:
    assert sorted(BINDINGS) == sorted(f"{op.method} {op.template}" for op in contract().operations)


@pytest.mark.parametrize("endpoint", FORMS, ids=lambda endpoint: endpoint.operation)
def test_every_requested_value_is_bound_or_has_a_reason(endpoint: Endpoint) -> None:
    request = FakeApi(endpoint).request
    binding = binding_of(request)
    bound = {path for rule in binding.rules for path in rule.request.split("|")}
    assert [path for path in requested(request) if not is_listed(path, bound | set(binding.unbound))] == []
    # What is listed is requested, so that no entry outlives its argument.
    forms = [FakeApi(form).request for form in FORMS if form.operation == endpoint.operation]
    known = {"body", "method"}.union(*map(requested, forms))
    listed = {path for path in {*bound, *binding.unbound} if not path.startswith(("response.", "seen."))}
    assert listed <= known
    assert all(binding.unbound.values())


def bound_cases() -> list[Any]:
    return [
        pytest.param(endpoint, rule, id=f"{endpoint.operation}-{rule.response}")
        for endpoint in FORMS
        for rule in binding_of(FakeApi(endpoint).request).rules
        # What was seen before is compared only by callers that saw it.
        if not rule.request.startswith("seen.")
        # The documented form of a link names no chain.
        if (endpoint, rule.response) != (LINK, "wallet.chain")
    ]


def respond(api: FakeApi, body: dict[str, Any]) -> Any:
    return api.call(200, json.dumps(body).encode())


def agrees(rule: Rule, request: Request, data: dict[str, Any]) -> bool:
    """Whether a mutated response still says what was requested, or nothing where that is allowed."""
    return all(other.holds(request, data) for other in binding_of(request).rules if other.response == rule.response)


@pytest.mark.parametrize(("endpoint", "rule"), bound_cases())
def test_response_about_something_else_is_refused(endpoint: Endpoint, rule: Rule) -> None:
    api = FakeApi(endpoint)
    good = api.fitted(example(endpoint.operation)["body"])
    respond(api, good)
    assert api.mismatches == []
    refused = 0
    for value in OTHERS:
        body = copy.deepcopy(good)
        assign(body["data"], rule.response.split("|")[0], value)
        if "|" in rule.response:
            body["data"].pop("wallet", None)
        api.mismatches.clear()
        try:
            respond(api, body)
        except Mismatch as error:
            refused += 1
            assert error.outcome_known is not api.request.mutates
            assert [place for place, _ in api.mismatches] == [f"{api.request.method} {api.request.path}"]
        except Malformed as error:
            assert error.outcome_known is not api.request.mutates
        else:
            assert agrees(rule, api.request, body["data"]), value
    assert refused


@pytest.mark.parametrize(("endpoint", "rule"), bound_cases())
def test_alarm_names_the_field(endpoint: Endpoint, rule: Rule) -> None:
    api = FakeApi(endpoint)
    body = api.fitted(example(endpoint.operation)["body"])
    value: Any = "0x" + "9a" * 20
    if rule.same is is_closed:
        value = "active"
    elif rule.same is same_cents_on_chain:
        value = "50000001"
    elif rule.same is has_one_transaction:
        value = {"data": {"parameters": []}}
    elif rule.same is is_account or rule.same is is_text:
        value = ["base"]
    elif rule.same is never:
        value = "1"
    elif isinstance(read(body["data"], rule.response)[0], int | float | bool):
        value = 41.0 if not isinstance(read(body["data"], rule.response)[0], bool) else False
    elif rule.response == "scopes":
        value = WIDER
    elif rule.response.startswith("encrypted"):
        value = LABEL
    for path in rule.response.split("|"):
        assign(body["data"], path, value, create=False)
    with pytest.raises(Mismatch):
        respond(api, body)
    assert api.mismatches == [(f"{api.request.method} {api.request.path}", rule.response)]


def scopes_granted(*scopes: Any) -> Any:
    api = FakeApi(next(endpoint for endpoint in ENDPOINTS if endpoint.operation == "createSession"))
    body = api.fitted(example("createSession")["body"])
    body["data"]["scopes"] = list(scopes)
    return respond(api, body)


def test_response_is_refused_even_if_the_alarm_fails() -> None:
    def fail(endpoint: str, field: str) -> None:
        raise OSError

    request = Request.mutation("DELETE", "/cards/{cardId}", ids={"cardId": "card-0001"})
    with pytest.raises(Mismatch):
        ResponseCheck(fail).check(request, Envelope({"cardId": "card-0002"}, None))


def test_session_may_have_fewer_scopes_but_no_other() -> None:
    assert scopes_granted("kyc.read").scopes == ("kyc.read",)
    assert scopes_granted().scopes == ()
    for wider in ("cards.secrets.read", "cards.write", "KYC.READ", "", None, 1, ["kyc.read"]):
        with pytest.raises((Mismatch, Malformed)):
            scopes_granted("kyc.read", wider)


WITHDRAWAL = next(endpoint for endpoint in ENDPOINTS if endpoint.operation == "createWithdrawal")


def withdrawal(**changes: Any) -> Any:
    api = FakeApi(WITHDRAWAL)
    body = api.fitted(example("createWithdrawal")["body"])
    body["data"].update(changes)
    return respond(api, body)


@fixed_examples(60)
@given(JSON, st.sampled_from(["signature", "data", "salt", "parameter"]), st.integers(4, 6))
def test_signed_part_of_any_shape_is_kept(value: Any, where: str, index: int) -> None:
    api = FakeApi(WITHDRAWAL)
    body = api.fitted(example("createWithdrawal")["body"])
    data = body["data"]
    if where == "signature":
        data[where] = value
    elif where == "parameter":
        data["parameters"][index] = value
    else:
        data["signature"] = {"data": "0xab", "salt": "c2FsdA=="} | {where: value}
    answer = respond(api, body)
    assert (answer.parameters, answer.signature) == tuple(
        None if part == "" else KEPT(part) for part in (data["parameters"], data["signature"])
    )


def refused_field(**changes: Any) -> str:
    """Return the field that the alarm names for this withdrawal, which is refused with an unknown outcome."""
    api = FakeApi(WITHDRAWAL)
    body = api.fitted(example("createWithdrawal")["body"])
    for path, value in changes.items():
        assign(body["data"], path.replace("__", "."), value)
    with pytest.raises(Mismatch) as caught:
        respond(api, body)
    assert caught.value.outcome_known is False
    ((_, named),) = api.mismatches
    return named


EVIL = "0x" + "ee" * 20
SEVEN = [EVIL] * 7
UNCOMPARABLE: list[Any] = [
    {"recipient": EVIL, "amount": "1"},
    {"parameters": SEVEN},
    [*SEVEN, EVIL],
    SEVEN[:6],
    json.dumps(SEVEN),
    [],
    {},
    [SEVEN],
    True,
    0,
    EVIL,
]


@pytest.mark.parametrize("status", ["ready", "submitted", "READY"])
@pytest.mark.parametrize("value", UNCOMPARABLE)
def test_transaction_that_can_not_be_compared_is_refused(status: str, value: Any) -> None:
    assert refused_field(status=status, parameters=value) == "parameters"
    assert refused_field(status=status, signature__parameters=value) == "signature.parameters"
    assert refused_field(status=status, parameters=None, signature={"parameters": value}) == "signature.parameters"
    assert refused_field(status=status, signature={"data": {"parameters": value}}) == "signature"


@fixed_examples(60)
@given(JSON | st.lists(JSON, min_size=7, max_size=7))
def test_transaction_of_another_shape_is_refused(value: Any) -> None:
    for key in PARAMETERS:
        changes = {"signature": None, "parameters": None} | {key.replace(".", "__"): value}
        assert refused_field(**changes) in PARAMETERS


def test_ready_withdrawal_without_a_transaction_is_refused() -> None:
    signatures: list[Any] = [None, "", "0xab", {"data": "0xab"}, [], {"parameters": None}]
    for signature in signatures:
        for parameters in (None, ""):
            assert refused_field(parameters=parameters, signature=signature) == "parameters"


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_pending_withdrawal_may_have_an_empty_transaction(empty: Any) -> None:
    assert withdrawal(status="pending", parameters=empty, signature=None, execution=None, relay=None).parameters in (
        None if empty == "" else empty,
    )


@pytest.mark.parametrize("status", ["ready", "submitted"])
@pytest.mark.parametrize("chain", [1, 8454, "84532", None, 0, -1, 900, True, [84532]])
def test_chain_of_a_transaction_is_compared(status: str, chain: Any) -> None:
    """A relayed withdrawal is paid on the relay's network, a direct one on the requested network."""
    assert refused_field(status=status, execution__chainId=chain) == "execution.chainId"
    body = {"amountCents": 5000, "destination": {"currency": "rusd", "network": "base", "address": ADDRESS}}
    data = direct(execution={"chainId": chain})
    request = Request.mutation("POST", "/withdrawals", body)
    assert BINDINGS["POST /withdrawals"].difference(request, data | {"status": status}) == "execution.chainId"


ADDRESS = "0x2b0f7f2f7c8e4c3d2d3b3f6a8f9b0c1d2e3f4a5b"


def direct(**changes: Any) -> dict[str, Any]:
    parameters = [ADDRESS, ADDRESS, "50000000", ADDRESS, 1_768_573_072, "c2FsdA==", "0xab"]
    return {"status": "ready", "parameters": parameters, "execution": {"chainId": 84532}} | changes


@pytest.mark.parametrize(
    ("network", "chain", "fits"),
    [
        ("base", 84532, True),
        ("BASE-sepolia", 84532, True),
        ("base", 1, False),
        ("solana", 901, True),
        ("solana", 84532, False),
        ("mantle", 5000, True),
        ("mantle", 1, False),
        ("bitcoin", 1, False),
        ("a-network-of-tomorrow", 77, True),
    ],
)
def test_direct_withdrawal_is_on_a_chain_of_the_requested_network(network: str, chain: int, fits: bool) -> None:
    to = {"currency": "rusd", "network": network, "address": ADDRESS}
    request = Request.mutation("POST", "/withdrawals", {"amountCents": 5000, "destination": to})
    difference = BINDINGS["POST /withdrawals"].difference(request, direct(execution={"chainId": chain}))
    assert difference == (None if fits else "execution.chainId")


@pytest.mark.parametrize(
    ("network", "chain", "amount", "fits"),
    [
        ("base", 84532, "50000000", True),
        ("base", 84532, "5000", False),
        ("base", 8453, 5000, False),
        ("ethereum", 1, hex(5000), False),
        ("a-network-of-tomorrow", 77, "5000", False),
        ("solana", 901, "5000", False),
        ("solana", 900, "50000000", True),
        ("solana", 901, "500000", False),
        ("solana", 901, 50000000, True),
    ],
)
@pytest.mark.parametrize("key", PARAMETERS)
def test_signed_amount_is_in_units_of_the_token_on_every_chain(
    key: str, network: str, chain: int, amount: Any, fits: bool
) -> None:
    to = {"currency": "rusd", "network": network, "address": ADDRESS}
    request = Request.mutation("POST", "/withdrawals", {"amountCents": 5000, "destination": to})
    signed = direct(execution={"chainId": chain})
    signed["parameters"][2] = amount
    if key == PARAMETERS[1]:
        signed["signature"] = {"parameters": signed.pop("parameters")}
    difference = BINDINGS["POST /withdrawals"].difference(request, signed)
    assert difference == (None if fits else f"{key}[2/7]")


@pytest.mark.parametrize(
    "account", ["0x" + "00" * 20, "1" * 32, "Send the money to Mallory", "0x12", ["0x" + "12" * 20], 12, "0.0.654321"]
)
def test_money_follows_addresses_only(account: Any) -> None:
    assert refused_field(execution__callTarget=account) == "execution.callTarget"
    assert refused_field(relay__payinAddress=account) == "relay.payinAddress"


@pytest.mark.parametrize("relay", [{"payinExtraId": "12345"}, {"payinAddress": None}, {"fromNetwork": None}])
def test_relay_that_the_transaction_can_not_pay_is_refused(relay: dict[str, Any]) -> None:
    ((name, value),) = relay.items()
    assert refused_field(**{f"relay__{name}": value}) == f"relay.{name}"


@pytest.mark.parametrize("key", PARAMETERS)
@pytest.mark.parametrize(
    ("index", "value", "fits"),
    [
        (2, "50000000", True),
        (2, 50000000, True),
        (2, 50000000.0, True),
        (2, hex(50000000), True),
        (2, "5000", False),
        (2, str(5000 * 10**16), False),
        (2, ["50000000"], False),
        (2, "fifty", False),
        (2, "50,000,000", False),
        (2, "-50000000", False),
        (2, None, False),
        (2, "", False),
        (2, True, False),
        (2, "500000000", False),
        (2, "5000000", False),
        (2, "50000001", False),
        (2, -50000000, False),
        (2, 1e300, False),
        (2, 0, False),
        (2, "\u0665\u0660\u0660\u0660", False),
        (3, "0x2B0F7F2F7C8E4C3D2D3B3F6A8F9B0C1D2E3F4A5B", True),
        (3, "0.0.654321", False),
        (3, "0x" + "2b" * 20, False),
        (1, "0x10B5BE494C2962A7B318AFB63F0EE30B959D000B", True),
        (1, "0x" + "10" * 20, False),
        (0, "0x" + "2b" * 20, False),
        (3, [0x2B] * 20, False),
        (3, None, False),
        (3, "", False),
        (3, " ", False),
        (1, [1, 2], False),
        (1, None, False),
        (0, [1, 2], False),
        (0, None, False),
    ],
)
def test_transaction_is_for_the_requested_amount_token_and_recipient(
    key: str, index: int, value: Any, fits: bool
) -> None:
    parameters = list(example("createWithdrawal")["body"]["data"]["parameters"])
    parameters[index] = value
    changes: dict[str, Any] = {"parameters": parameters}
    if key == PARAMETERS[1]:
        changes = {"parameters": None, "signature": {"data": "0x", "parameters": parameters}}
    if fits:
        assert withdrawal(**changes).status == "ready"
        return
    with pytest.raises(Mismatch) as caught:
        withdrawal(**changes)
    assert caught.value.outcome_known is False


@pytest.mark.parametrize(
    ("network", "asked", "found", "same"),
    [
        ("base", "0x" + "ab" * 20, "0x" + "AB" * 20, True),
        ("btc", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "BC1QAR0SRRR7XFKVY5L643LYDNW9RE59GTZZWF5MDQ", True),
        (
            "solana",
            "9wFFyRfZBsuAha4YcuxcXLKwMxJR43S7fPfQLusDBzvT",
            "9wffyrfzbsuaha4ycuxcxlkwmxjr43s7fpfqlusdbzvt",
            False,
        ),
        ("base", "0x" + "ab" * 20, "0x" + "ac" * 20, False),
    ],
)
def test_addresses_are_compared_in_the_normal_form_of_the_network(
    network: str, asked: str, found: str, same: bool
) -> None:
    body = {"destination": {"currency": "x", "network": network, "address": asked}, "amountCents": 500}
    request = Request.mutation("POST", "/withdrawals", body)
    relay = {"payoutAddress": found, "payinAddress": "0x" + "12" * 20}
    difference = BINDINGS["POST /withdrawals"].difference(request, {"status": "pending", "relay": relay})
    assert difference == (None if same else "relay.payoutAddress")


def test_direct_withdrawal_pays_the_requested_address_itself() -> None:
    request = Request.mutation(
        "POST",
        "/withdrawals",
        {"amountCents": 5000, "destination": {"currency": "rusd", "network": "base", "address": ADDRESS}},
    )
    binding, parameters = BINDINGS["POST /withdrawals"], direct()["parameters"]
    assert binding.difference(request, direct(relay=None)) is None
    parameters[3] = "0x" + "12" * 20
    assert binding.difference(request, direct(parameters=parameters)) == "parameters[3/7]"


@pytest.mark.parametrize("relay", [{}, {"payinAddress": "0x" + "2b" * 20}, {"payoutAddress": "0.0.654321"}])
def test_relay_must_name_the_requested_destination(relay: dict[str, Any]) -> None:
    with pytest.raises(Mismatch):
        withdrawal(relay=relay)


def test_pending_withdrawal_has_nothing_to_compare() -> None:
    nothing = dict.fromkeys(("parameters", "signature", "execution", "relay"))
    assert withdrawal(status="pending", **nothing).status == "pending"


UPDATE = example("updateCard")["body"]["data"]
LIMITS: list[Any] = [
    None,
    {"amountCents": 5000, "frequency": "per30DayPeriod"},
    {"amountCents": 9_000_000, "frequency": "per30DayPeriod"},
    {"amountCents": 5000, "frequency": "perAuthorization"},
    {"amountCents": 5000, "frequency": "perDecade"},
]


@pytest.mark.parametrize("found", [*LIMITS, {}, "", {"amountCents": 5000}, {"amountCents": "5000"}, [5000]])
@pytest.mark.parametrize("before", LIMITS)
def test_unlocked_card_must_have_the_limit_that_was_seen(before: Any, found: Any) -> None:
    card = Card.model_validate(UPDATE | {"limit": before})
    unlock = Endpoint("updateCard", lambda c: c.cards.update("user-1", "card-0001", status="active", seen=card))
    api = FakeApi(unlock)
    body = api.fitted({"ok": True, "data": UPDATE | {"cardId": "card-0001"}})
    body["data"]["limit"] = found
    if found == before or (before is None and found == ""):
        assert respond(api, body).status == "active"
        return
    with pytest.raises(Mismatch) as caught:
        respond(api, body)
    assert caught.value.outcome_known is False
    assert api.mismatches[0][1].startswith("limit")


WORDS = ("active", "locked", "not_activated", "canceled", "suspended", "", None, 7)
# What a card may become without being asked to.
STRICTER: dict[str, Collection[Any]] = {
    "active": WORDS,
    "locked": {"locked", "canceled"},
    "not_activated": {"not_activated", "locked", "canceled"},
    "suspended": {"suspended", "locked", "canceled"},
    "canceled": {"canceled"},
}


@pytest.mark.parametrize("found", WORDS)
@pytest.mark.parametrize("before", WORDS)
def test_card_gets_no_status_unasked_that_lets_it_spend_more(before: Any, found: Any) -> None:
    card = Card.model_validate(UPDATE | {"status": before, "limit": None})
    lower = CardLimit(amount_cents=100, frequency="allTime")
    api = FakeApi(Endpoint("updateCard", lambda c: c.cards.update("user-1", "card-0001", limit=lower, seen=card)))
    limit = {"amountCents": 100, "frequency": "allTime"}
    body = {"ok": True, "data": UPDATE | {"cardId": "card-0001", "status": found, "limit": limit}}
    # A status that can't be read can't be compared.
    if before in ("", None, 7) or found in STRICTER[before]:
        assert respond(api, body).limit.amount_cents == 100
        return
    with pytest.raises(Mismatch) as caught:
        respond(api, body)
    assert caught.value.outcome_known is False
    assert api.mismatches[0][1] == "status"


CARD_CASES = [e for e in ENDPOINTS if e.operation in ("createCard", "getCard", "updateCard")]


@pytest.mark.parametrize("later", CARD_CASES, ids=lambda endpoint: endpoint.operation)
def test_card_keeps_its_last_four_digits(later: Endpoint) -> None:
    api, second = FakeApi(next(e for e in ENDPOINTS if e.operation == "getCard")), FakeApi(later)
    card, other = api.fitted(example("getCard")["body"]), second.fitted(example(later.operation)["body"])
    other["data"]["last4"] = "4321"

    async def read_then_call() -> None:
        client = api.new_client()
        api.script(200, json.dumps(card).encode())
        await api.call_with(client)
        api.script(200, json.dumps(other).encode())
        with pytest.raises(Mismatch):
            await second.call_with(client)
        # Said once. A card that was replaced is not refused for ever.
        assert (await second.call_with(client)).last4 == "4321"

    asyncio.run(read_then_call())
    assert api.mismatches == [(f"{second.request.method} {second.request.path}", "last4")]


@each_method
def test_any_value_in_a_bound_place_is_refused_or_agrees(endpoint: Endpoint) -> None:
    api = FakeApi(endpoint)
    rules = binding_of(api.request).rules
    if not rules:
        assert binding_of(api.request) == BINDINGS[f"{api.request.method} {api.request.path}"]
        return
    body = api.fitted(example(endpoint.operation)["body"])

    @fixed_examples(15)
    @given(st.sampled_from(rules), JSON | st.text(max_size=5) | st.floats(0, 1e308))
    def check(rule: Rule, value: Any) -> None:
        changed = copy.deepcopy(body)
        assign(changed["data"], rule.response.split("|")[0], value)
        try:
            respond(api, changed)
        except PartnerError as error:
            assert isinstance(error, Malformed | Mismatch)
        else:
            assert agrees(rule, api.request, changed["data"])

    check()
