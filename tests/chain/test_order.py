from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.chain.faults import ChainFault, Malformed, NotSigned, Unsupported
from machines_mcp.chain.order import Order, read_order
from tests.chain.answers import CHAIN, EXPIRY, PROXY, RECIPIENT, SALT, SIGNATURE, TARGET, TOKEN, answer, parameters

ORDER = Order(
    path="coordinator_v2",
    chain_id=CHAIN,
    target=TARGET,
    collateral=PROXY,
    token=TOKEN,
    amount=100_500_000,
    recipient=RECIPIENT,
    expires_at=EXPIRY,
    salt=SALT,
    signature=SIGNATURE,
)
SOLANA = "HaJ8CaGUJ1w8CjqM2cvaMtTNXSZFhwtmKHeRkYBvEGjj"
NATIVE = "11111111111111111111111111111111"


def forms(value: bytes) -> list[Any]:
    return [
        f"0x{value.hex()}",
        f"0x{value.hex().upper()}",
        f"0X{value.hex()}",
        value.hex(),
        base64.b64encode(value).decode(),
        list(value),
    ]


@pytest.mark.parametrize("salt", forms(SALT))
@pytest.mark.parametrize("signature", forms(SIGNATURE))
@pytest.mark.parametrize("amount", [100_500_000, "100500000", 100_500_000.0])
@pytest.mark.parametrize("expiry", [EXPIRY, str(EXPIRY)])
def test_every_form_of_the_parameters_is_the_same_order(salt: Any, signature: Any, amount: Any, expiry: Any) -> None:
    given = parameters(p2=amount, p4=expiry, p5=salt, p6=signature)
    assert read_order(answer(parameters=given)) == ORDER


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=65, max_size=65))
def test_any_salt_and_signature_is_read_from_each_form(salt: bytes, signature: bytes) -> None:
    for one, other in zip(forms(salt), forms(signature), strict=True):
        found = read_order(answer(parameters=parameters(p5=one, p6=other)))
        assert (found.salt, found.signature) == (salt, signature)


def test_the_case_of_addresses_is_only_a_checksum() -> None:
    given = parameters(p0=PROXY.lower(), p3="0x" + RECIPIENT[2:].upper())
    assert read_order(answer(parameters=given)) == ORDER


@pytest.mark.parametrize("salt", forms(SALT))
def test_the_signature_may_hold_the_parameters(salt: Any) -> None:
    inside = parameters(p5=salt)
    assert read_order(answer(parameters=None, signature={"parameters": inside})) == ORDER
    repeated = {"data": list(SIGNATURE), "salt": SALT.hex(), "parameters": inside}
    assert read_order(answer(signature=repeated)) == ORDER
    assert read_order(answer(signature=f"0x{SIGNATURE.hex()}")) == ORDER


def test_an_order_on_solana_is_read() -> None:
    signature = base64.b64encode(b"\x42" * 64).decode()
    given = [SOLANA, NATIVE, "5000", SOLANA, str(EXPIRY), base64.b64encode(SALT).decode(), signature]
    found = read_order(answer("solana_v2_02", parameters=given, chain_id=901, call_target=SOLANA))
    assert (found.path, found.token, found.amount, found.signature) == ("solana_v2_02", NATIVE, 5000, b"\x42" * 64)


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "pending"},
        {"status": "pending", "parameters": None, "execution": None},
        {"status": "rejected"},
        {"parameters": None},
        {"parameters": []},
        {"parameters": {}},
        {"parameters": parameters(p6=None)},
        {"parameters": parameters(p6="")},
        {"signature": {"data": None, "salt": None}},
        {"signature": {"data": ""}},
    ],
)
def test_an_answer_without_a_signature_is_not_signed(changed: dict[str, Any]) -> None:
    with pytest.raises(NotSigned):
        read_order(answer(**changed))


MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("parameters", {"parameters": parameters()[:6]}),
    ("parameters", {"parameters": [*parameters(), 1]}),
    ("parameters", {"parameters": "0x00"}),
    ("parameters", {"parameters": {"0": PROXY}}),
    *(
        ("parameters[0]", {"parameters": parameters(p0=bad)})
        for bad in (None, 1, "", "0x1", f"0x{'0' * 40}", TOKEN[2:])
    ),
    ("parameters[0]", {"parameters": parameters(p0=PROXY[:-1] + "d")}),
    ("parameters[0]", {"parameters": parameters(p0=SOLANA)}),
    ("parameters[1]", {"parameters": parameters(p1=[TOKEN])}),
    *(
        ("parameters[2]", {"parameters": parameters(p2=bad)})
        for bad in ("1e6", "", " 1", "1.0", "-1", -1, 0, "0", 1.5, 1e300, float("nan"), True, None, [1], "٣", 2**256)
    ),
    ("parameters[2]", {"parameters": parameters(p2=str(2**256))}),
    ("parameters[2]", {"parameters": parameters(p2="9" * 5000)}),
    ("parameters[3]", {"parameters": parameters(p3=RECIPIENT + "0")}),
    ("parameters[4]", {"parameters": parameters(p4=EXPIRY * 1000)}),
    ("parameters[4]", {"parameters": parameters(p4="2025-01-01T00:00:00Z")}),
    *(
        ("parameters[5]", {"parameters": parameters(p5=bad)})
        for bad in (
            f"0x{SALT[:31].hex()}",
            f"0x{SALT.hex()}00",
            f"0x{SALT.hex()[:-1]}",
            f"0x{SALT.hex()[:-1]}g",
            list(SALT[:31]),
            [*SALT[:31], 256],
            [*SALT[:31], -1],
            [*SALT[:31], True],
            [*SALT[:31], 1.0],
            [*SALT[:31], "1"],
            base64.b64encode(SALT[:31]).decode(),
            base64.b64encode(SALT).decode()[:-1],
            base64.b64encode(SALT).decode()[:-4] + "====",
            "*" * 44,
            "é" * 44,
            "",
            None,
            5,
            {"data": list(SALT)},
        )
    ),
    ("parameters[6]", {"parameters": parameters(p6=f"0x{SIGNATURE[:64].hex()}")}),
    ("parameters[6]", {"parameters": parameters(p6=base64.b64encode(SIGNATURE[:64]).decode())}),
    ("execution", {"execution": None}),
    ("execution", {"execution": []}),
    ("execution.callPath", {"call_path": None}),
    ("execution.chainId", {"chain_id": None}),
    ("execution.chainId", {"chain_id": -5}),
    ("execution.callTarget", {"call_target": None}),
    ("execution.callTarget", {"call_target": SOLANA}),
    ("signature.data", {"signature": {"data": f"0x{bytes(65).hex()}"}}),
    ("signature.data", {"signature": "none"}),
    ("signature.salt", {"signature": {"data": list(SIGNATURE), "salt": list(bytes(32))}}),
    ("signature.parameters", {"signature": {"parameters": parameters(p2="100500001")}}),
    ("signature.parameters[5]", {"parameters": None, "signature": {"parameters": parameters(p5="0x11")}}),
    ("signature.parameters[5]", {"signature": {"parameters": parameters(p5="0x11")}}),
]


@pytest.mark.parametrize(("position", "changed"), MALFORMED)
def test_a_malformed_answer_names_the_position_and_never_the_value(position: str, changed: dict[str, Any]) -> None:
    with pytest.raises(Malformed) as caught:
        read_order(answer(**changed))
    assert (caught.value.position, str(caught.value)) == (position, f"{position} can't be read")
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("path", ["unknown", "coordinator_v3", "", "Coordinator_V2"])
def test_a_new_call_path_is_unsupported(path: str) -> None:
    with pytest.raises(Unsupported) as caught:
        read_order(answer(call_path=path))
    assert (caught.value.path, caught.value.reason) == (path, "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from(["parameters", "signature", "execution", "status", "chain_id", "call_path"]), JSON)
def test_no_json_raises_anything_else(name: str, value: Any) -> None:
    try:
        found = read_order(answer(**{name: value}))
    except ChainFault:
        return
    # Any positive number is a chain id.
    assert found == replace(ORDER, chain_id=found.chain_id if name == "chain_id" else ORDER.chain_id)


@given(st.integers(0, 6), JSON)
def test_no_json_in_a_parameter_raises_anything_else(index: int, value: Any) -> None:
    try:
        found = read_order(answer(parameters=parameters(**{f"p{index}": value})))
    except ChainFault:
        return
    assert found.path == ORDER.path
