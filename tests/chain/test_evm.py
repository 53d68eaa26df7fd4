from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from eth_keys.constants import SECPK1_N as N
from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.chain import evm
from machines_mcp.chain.order import Order, read_order
from tests.chain.answers import ADMIN, answer
from tests.support.wallets import sign_typed_data, wallet

KEY = wallet(94)
SALT = b"\xaa" * 32


def order(path: str = "coordinator_v2") -> Order:
    return read_order(answer(path))


def word(number: int) -> str:
    return f"{number:064x}"


def test_the_calldata_of_version_two_equals_the_issuers_golden() -> None:
    """The issuer's SDK pins these bytes on both its platforms."""
    heads = "00" * 12 + "abcdef" * 6 + "abcd" + "00" * 12 + "9876543210" * 4 + word(100_500_000)
    heads += "00" * 12 + "fedcba" * 6 + "fedc" + word(1_735_689_600) + "11" * 32
    heads += word(0x140) + word(0x1C0) + word(0x200) + word(1)
    executor = word(65) + "42" * 65 + "00" * 31
    admins = word(1) + "aa" * 32 + word(1) + word(0x20) + word(65) + "bb" * 65 + "00" * 31
    found = evm.calldata(order(), [SALT], [b"\xbb" * 65])
    assert found.hex() == "4b268241" + heads + executor + admins
    assert len(found) == 708


def test_the_selectors_are_those_of_the_contracts() -> None:
    assert {path: evm.selector(form).hex() for path, form in evm.FUNCTIONS.items()} == {
        "controller_v1": "e167d26a",
        "coordinator_v2": "4b268241",
    }
    assert len(evm.calldata(order("controller_v1"))) == 4 + 7 * 32 + 4 * 32


@pytest.mark.parametrize(("path", "salts"), [("controller_v1", ()), ("coordinator_v2", (SALT,))])
def test_calldata_decodes_to_the_order(path: str, salts: tuple[bytes, ...]) -> None:
    signatures = tuple(b"\xbb" * 65 for _ in salts)
    found = evm.decoded(evm.calldata(order(path), salts, signatures))
    assert evm.differences(found, order(path), salts, signatures) == []


OTHER = "0x5555555555555555555555555555555555555555"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("collateral", OTHER),
        ("token", OTHER),
        ("amount", 1),
        ("recipient", OTHER),
        ("expires_at", 1),
        ("salt", SALT),
        ("signature", b"\1" * 65),
    ],
)
@pytest.mark.parametrize("path", ["controller_v1", "coordinator_v2"])
def test_each_changed_argument_is_named(path: str, name: str, value: Any) -> None:
    changed = dataclasses.replace(order(path), **{name: value})
    data = evm.calldata(changed, [SALT], [b"\xbb" * 65])
    salts, signatures = ((SALT,), (b"\xbb" * 65,)) if path == "coordinator_v2" else ((), ())
    assert evm.differences(evm.decoded(data), order(path), salts, signatures) == [name]


def test_changed_arguments_of_the_admin_are_named() -> None:
    found = evm.decoded(evm.calldata(order(), [SALT], [b"\xbb" * 65]))
    assert evm.differences(found, order(), (b"\1" * 32,), (b"\xbb" * 65,)) == ["admin_salt"]
    assert evm.differences(found, order(), (SALT,), ()) == ["admin_signature"]
    assert found is not None
    assert evm.differences(dataclasses.replace(found, direct=False), order(), (SALT,), (b"\xbb" * 65,)) == ["direct"]
    assert evm.differences(found, order("controller_v1"), (), ()) == ["function"]


@given(st.binary(max_size=800), st.sampled_from(["", "e167d26a", "4b268241"]))
def test_other_calldata_is_no_withdrawal(data: bytes, selector: str) -> None:
    found = evm.decoded(bytes.fromhex(selector) + data)
    assert evm.differences(found, order(), (), ()) != []


@settings(max_examples=10)
@given(st.integers(0, 2**256 - 1), st.binary(min_size=32, max_size=32))
def test_the_digest_is_that_of_an_independent_library(nonce: int, salt: bytes) -> None:
    typed = evm.typed_data(order(), KEY.address, nonce, salt)
    signature, digest = sign_typed_data(KEY, typed)
    assert evm.digest(typed) == digest
    assert evm.recover(typed, signature) == KEY.address


def test_the_typed_data_is_what_wallets_take() -> None:
    typed = evm.typed_data(order(), ADMIN.lower(), 7, SALT)
    assert typed["domain"] == {
        "name": "Collateral",
        "version": "2",
        "chainId": 84532,
        "verifyingContract": order().collateral,
        "salt": "0x" + "aa" * 32,
    }
    assert typed["message"] == {
        "user": ADMIN,
        "asset": order().token,
        "amount": "100500000",
        "recipient": order().recipient,
        "nonce": "7",
    }
    assert typed["primaryType"] == "Withdraw"
    assert [field["name"] for field in typed["types"]["EIP712Domain"]] == list(typed["domain"])
    assert [field["name"] for field in typed["types"]["Withdraw"]] == list(typed["message"])


def signed(typed: dict[str, Any]) -> bytes:
    return sign_typed_data(KEY, typed)[0]


def twin(signature: bytes) -> bytes:
    """Return the other signature of the same key: the s in the other half of the order."""
    return signature[:32] + (N - int.from_bytes(signature[32:64])).to_bytes(32) + bytes([55 - signature[64]])


def low_v(signature: bytes) -> bytes:
    return signature[:64] + bytes([signature[64] - 27])


@pytest.mark.parametrize("form", [bytes, low_v, twin, lambda signature: low_v(twin(signature))])
def test_every_form_of_a_signature_is_made_the_one_that_contracts_accept(form: Any) -> None:
    typed = evm.typed_data(order(), KEY.address, 0, SALT)
    signature = signed(typed)
    assert evm.recover(typed, form(signature)) == KEY.address
    assert evm.canonical(form(signature)) == signature


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        bytes(65),
        b"\x01" * 64,
        b"\xff" * 64 + b"\x1b",
        b"\x01" * 64 + b"\x1d",
        b"\x01" * 64 + b"\x02",
        b"\x01" * 66,
        bytes(32) + b"\x01" * 32 + b"\x1b",
    ],
)
def test_a_signature_of_no_account_recovers_to_none(signature: bytes) -> None:
    assert evm.recover(evm.typed_data(order(), KEY.address, 0, SALT), signature) is None


def test_a_signature_over_other_data_recovers_to_another_account() -> None:
    typed = evm.typed_data(order(), KEY.address, 0, SALT)
    other = evm.typed_data(order(), KEY.address, 1, SALT)
    assert evm.recover(typed, signed(other)) not in (None, KEY.address)
