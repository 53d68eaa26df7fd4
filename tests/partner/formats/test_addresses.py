"""Addresses: public vectors of each network, what can be known to be wrong, and one form for equal addresses."""

from __future__ import annotations

import string

import pytest
from base58_bech32.base58 import RIPPLE_ALPHABET, b58encode, b58encode_check
from base58_bech32.bech32 import BECH32_1_CONST, BECH32_M_CONST, bech32_encode, convertbits
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.partner.formats.address_formats import FORMATS
from machines_mcp.partner.formats.addresses import (
    address_fault,
    contract_fault,
    normal_address,
    same_address,
    token_fault,
)
from machines_mcp.partner.formats.memos import memo_fault
from machines_mcp.partner.formats.networks import family_of
from machines_mcp.sandbox.assets import NETWORKS

# From the EIPs, BIPs, SEPs and the documentation of each network.
VALID = [
    ("base", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    ("ethereum", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"),
    ("polygon", "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB"),
    ("eth", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb"),
    ("base", "0x" + "ef" * 20),
    ("base", "0x" + "EF" * 20),
    ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
    ("bitcoin", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"),
    ("btc", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"),
    ("btc", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    ("btc", "3P14159f73E4gFr7JterCCQh9QjiTjiZrG"),
    ("litecoin", "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1"),
    ("dogecoin", "DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L"),
    ("bch", "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
    ("bch", "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
    ("tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"),
    ("ripple", "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"),
    ("stellar", "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ"),
    ("ton", "EQCD39VS5jcptHL8vMjEXrzGaRcCVYto7HUn4bpAOg8xqB2N"),
    ("ton", "UQCD39VS5jcptHL8vMjEXrzGaRcCVYto7HUn4bpAOg8xqEBI"),
    ("ton", "0:83dfd552e63729b472fcbcc8c45ebcc6691702558b68ec7527e1ba403a0f31a8"),
    ("solana", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"),
    ("hbar", "0.0.1234567"),
    ("hbar", "0.0.123-vfmkw"),
]
TEST_NETWORKS = [
    ("bitcoin", "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy"),
    ("bitcoin", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"),
    ("ton", "kQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAHTW"),
]
ZERO = [
    ("base", "0x" + "0" * 40),
    ("solana", "1" * 32),
    ("bitcoin", "1111111111111111111114oLvT2"),
    ("tron", "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"),
    ("ripple", "rrrrrrrrrrrrrrrrrrrrrhoLvTp"),
    ("hbar", "0.0.0"),
]
INVALID = [
    ("base", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"),
    ("base", "0x" + "ef" * 19 + "e"),
    ("base", "0x" + "ef" * 20 + "e"),
    ("base", "ef" * 20),
    ("base", "0X" + "ef" * 20),
    ("base", "abcd"),
    ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"),
    ("bitcoin", "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4"),
    ("bitcoin", "BC1SW50QGDZ25J"),  # a witness version without rules
    ("bitcoin", "bc1pfeessrawgf"),  # anyone can spend it
    ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh"),  # bech32m for version 0
    ("ripple", "X7AcgcsBL6XDcUb289X4mJ8djcdyKaB5hJDWMArnXr61cqZ"),
    ("stellar", "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGA"),
    ("ton", "EQCD39VS5jcptHL8vMjEXrzGaRcCVYto7HUn4bpAOg8xqB2M"),
    ("solana", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZw"),
    ("hbar", "0.0.007"),
]


@pytest.mark.parametrize(("network", "address"), VALID)
def test_valid_addresses_are_accepted_on_their_network_only(network: str, address: str) -> None:
    assert address_fault(network, address, test=False) is None
    family = family_of(network)
    for other in {"base", "solana", "bitcoin", "litecoin", "doge", "bch", "tron", "xrp", "xlm", "ton", "hbar"}:
        if family_of(other) != family:
            fault = address_fault(other, address) or ""
            assert fault.endswith("; this is one of " + FORMATS[family or "evm"].name)


@pytest.mark.parametrize(("network", "address"), INVALID + ZERO)
def test_addresses_known_to_be_wrong_are_refused_without_repeating_them(network: str, address: str) -> None:
    fault = address_fault(network, address)
    assert fault is not None
    assert address not in fault


@pytest.mark.parametrize(("network", "address"), ZERO)
def test_zero_addresses_are_refused_as_such(network: str, address: str) -> None:
    assert address_fault(network, address) == "must not be the zero address: money sent there is lost"


@pytest.mark.parametrize(("network", "address"), TEST_NETWORKS)
def test_addresses_of_test_networks_are_refused_in_production(network: str, address: str) -> None:
    assert address_fault(network, address) in (None, "must not be the zero address: money sent there is lost")
    assert (address_fault(network, address, test=False) or "").startswith("must not be ")


def _made(network: str, key: bytes) -> str:
    """Encode an address, by other code than the decoders."""
    match network:
        case "evm":
            return str(to_checksum_address(key[:20]))
        case "solana":
            return b58encode(key).decode()
        case "bitcoin":
            return bech32_encode("bc", [0, *convertbits(key[:20], 8, 5)], m=BECH32_1_CONST).decode()
        case "taproot":
            return bech32_encode("bc", [1, *convertbits(key, 8, 5)], m=BECH32_M_CONST).decode()
        case "ripple":
            return b58encode_check(b"\0" + key[:20], alphabet=RIPPLE_ALPHABET).decode()
        case _:
            return b58encode_check({"tron": b"\x41", "ltc": b"\x30", "doge": b"\x1e"}[network] + key[:20]).decode()


ids = {"evm": "base", "taproot": "bitcoin"}
keys = st.binary(min_size=32, max_size=32).filter(lambda key: any(key[:20]))


@given(st.sampled_from(["evm", "bitcoin", "taproot", "ripple", "tron", "ltc", "doge"]), keys, st.data())
def test_one_wrong_character_is_found(made: str, key: bytes, data: st.DataObject) -> None:
    address, network = _made(made, key), ids.get(made, made)
    assert address_fault(network, address) is None
    at = data.draw(st.integers(0, len(address) - 1))
    other = data.draw(st.sampled_from(sorted(set(string.ascii_letters + string.digits) - {address[at]})))
    wrong = address[:at] + other + address[at + 1 :]
    # EIP-55 finds most changes, not all; a change of case alone is always one.
    if made != "evm" or (other.lower() == address[at].lower() and at > 1 and address[2:] != address[2:].lower()):
        if made == "evm" and len({c.islower() for c in wrong[2:] if c.isalpha()}) == 1:
            return
        assert address_fault(network, wrong) is not None


@given(keys)
def test_solana_addresses_have_32_bytes(key: bytes) -> None:
    assert address_fault("solana", _made("solana", key)) is None
    assert address_fault("solana", b58encode(key[:31]).decode()) is not None


@pytest.mark.parametrize("network", NETWORKS.values(), ids=lambda network: network.id)
def test_every_network_of_the_simulator_is_known(network: object) -> None:
    assert family_of(network.id) == {"hedera": "hedera"}.get(network.family, network.family)  # type: ignore[attr-defined]


def test_unknown_networks_are_not_checked() -> None:
    assert address_fault("newchain", "abcd") is None


@pytest.mark.parametrize(
    ("network", "first", "second"),
    [
        ("base", VALID[0][1], VALID[0][1].lower()),
        ("Base", VALID[0][1], "0x" + VALID[0][1][2:].upper()),
        ("newchain", VALID[0][1], VALID[0][1].lower()),
        ("bitcoin", VALID[6][1], VALID[7][1]),
        ("bch", VALID[13][1], VALID[14][1]),
        ("ton", VALID[18][1], VALID[19][1]),
        ("ton", VALID[18][1].translate(str.maketrans("-_", "+/")), VALID[20][1].upper()),
        ("hbar", "0.0.123", "0.0.123-vfmkw"),
    ],
)
def test_equal_addresses_have_one_form(network: str, first: str, second: str) -> None:
    assert normal_address(network, first) == normal_address(network, second)
    assert same_address(first, second) and same_address(second, first)


@pytest.mark.parametrize("first", ["ABC-d", "0.0.x-abcde", "bitcoincash:x", "EQabc", "r" * 30])
def test_invalid_addresses_are_equal_only_to_themselves(first: str) -> None:
    for network in ("base", "bitcoin", "bch", "ton", "hbar", "newchain"):
        assert normal_address(network, first) == first
    assert same_address(first, first)
    assert not same_address(first, first.swapcase())


@pytest.mark.parametrize(
    ("network", "first"),
    [("solana", VALID[21][1]), ("tron", VALID[15][1]), ("ripple", VALID[16][1]), ("btc", VALID[9][1]), ("x", "Abc")],
)
def test_case_that_has_a_meaning_is_kept(network: str, first: str) -> None:
    assert normal_address(network, first) != normal_address(network, first.lower())
    assert not same_address(first, first.lower())


@pytest.mark.parametrize(
    ("network", "memo", "fits"),
    [
        ("xrp", "0", True),
        ("xrp", "4294967295", True),
        ("xrp", "4294967296", False),
        ("xrp", "007", False),
        ("xrp", "-1", False),
        ("xrp", "order-12", False),
        ("xrp", "٤", False),
        ("xlm", "order-12", True),
        ("xlm", "x" * 29, False),
        ("xlm", "ab" * 32, True),
        ("hbar", "x" * 101, False),
        ("base", "1", False),
        ("btc", "1", False),
        ("newchain", "anything", True),
    ],
)
def test_memos_follow_their_network(network: str, memo: str, fits: bool) -> None:
    assert (memo_fault(network, memo) is None) is fits


def test_collateral_is_held_on_evm_networks_and_on_solana() -> None:
    assert contract_fault("0x10b5Be494C2962A7B318aFB63f0Ee30b959D000b") is None
    assert contract_fault("CcuoBwMZJgupcdx81m3vYqBongw2PhhZ4yiYA2jo3K5") is None
    assert contract_fault("0x10b5Be494C2962A7B318aFB63f0Ee30b959D000B") is not None
    assert contract_fault("abcd") is not None


def test_native_sol_is_a_token_and_the_zero_address_of_evm_networks_is_none() -> None:
    native, zero = "1" * 32, "0x" + "0" * 40
    assert token_fault(native) is None
    assert "money sent there" in str(contract_fault(native))
    assert token_fault(zero) == "must not be the zero address: no token has it"
    for address in ("0x10b5Be494C2962A7B318aFB63f0Ee30b959D000b", "0x10b5Be494C2962A7B318aFB63f0Ee30b959D000B", "abcd"):
        assert token_fault(address) == contract_fault(address)
