"""The formats of addresses: their form, their checksum, and the one form in which equal addresses are equal.

Libraries compute the checksums. They load at the first address, because that takes a tenth of a second.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from machines_mcp.partner.formats.networks import Family


@dataclass(frozen=True, slots=True)
class Account:
    """What an address names. `key` is the hash or public key, `test` whether it is only for a test network."""

    key: bytes
    test: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A family's addresses: its name and their form for a message, the pattern, and the decoder.

    The decoder raises ValueError for what only looks like an address. `checksum`: it has one, if only in mixed case.
    """

    name: str
    form: str
    pattern: str
    decode: Callable[[str], Account]
    checksum: bool = True


def _evm(address: str) -> Account:
    digits = address[2:]
    mixed = digits not in (digits.lower(), digits.upper())
    if mixed:
        from eth_utils.address import is_checksum_address

        if not is_checksum_address(address):
            _wrong()
    return Account(bytes.fromhex(digits))


def _solana(address: str) -> Account:
    from base58_bech32.base58 import b58decode

    key = b58decode(address)
    return Account(key) if len(key) == 32 else _wrong()


def _base58check(versions: bytes, tests: bytes = b"", *, ripple: bool = False) -> Callable[[str], Account]:
    """Return the decoder of 20-byte hashes behind one of these version bytes, on the main or a test network."""

    def decode(address: str) -> Account:
        from base58_bech32.base58 import BITCOIN_ALPHABET, RIPPLE_ALPHABET, b58decode_check

        body = b58decode_check(address, out_size=21, alphabet=RIPPLE_ALPHABET if ripple else BITCOIN_ALPHABET)
        return Account(body[1:], test=body[0] in tests) if body[0] in versions + tests else _wrong()

    return decode


def _segwit(prefix: str, test_prefix: str) -> Callable[[str], Account]:
    """Return the decoder of witness programs (BIP 173 and BIP 350)."""

    def decode(address: str) -> Account:
        from base58_bech32.bech32 import BECH32_1_CONST, BECH32_M_CONST, bech32_decode, convertbits

        found, data, constant = bech32_decode(address, limit=90)
        version, program = data[0], bytes(convertbits(data[1:], 5, 8, pad=False))
        # Anyone can take what is sent to a version that has no rules yet.
        fits = (version, len(program)) in ((0, 20), (0, 32), (1, 32))
        if constant != (BECH32_M_CONST if version else BECH32_1_CONST) or not fits:
            _wrong()
        return Account(program, test=found == test_prefix) if found in (prefix, test_prefix) else _wrong()

    return decode


def _bitcoin_like(prefix: str, test_prefix: str, versions: bytes, tests: bytes) -> Callable[[str], Account]:
    plain, segwit = _base58check(versions, tests), _segwit(prefix, test_prefix)
    starts = (f"{prefix}1", f"{test_prefix}1")
    return lambda address: (segwit if address.lower().startswith(starts) else plain)(address)


def _bitcoin_cash(address: str) -> Account:
    from base58_bech32.cashaddr import cashaddr_decode

    kind, key = cashaddr_decode(address, prefix="bitcoincash")[1:]
    return Account(key) if kind < 4 else _wrong()


def _stellar(address: str) -> Account:
    body = base64.b32decode(address)
    same = binascii.crc_hqx(body[:-2], 0) == int.from_bytes(body[-2:], "little") and body[0] == 6 << 3
    return Account(body[1:-2]) if same else _wrong()


def _ton(address: str) -> Account:
    if ":" in address:
        return Account(bytes.fromhex(address.partition(":")[2]))
    body = base64.b64decode(address, b"-_" if re.search("[-_]", address) else None, validate=True)
    same = binascii.crc_hqx(body[:-2], 0) == int.from_bytes(body[-2:]) and body[0] & 0x7F in (0x11, 0x51)
    return Account(body[2:-2], test=body[0] > 0x7F) if same and body[1] in (0, 0xFF) else _wrong()


def _normal_segwit(address: str) -> str:
    return address.lower() if re.match("(?i)(?:bc|tb|ltc|tltc)1", address) else address


def _normal_ton(address: str) -> str:
    """Return chain and hash: an account has four equal addresses, in base64 and base64url, bounceable and not."""
    if ":" in address:
        return address.lower()
    body = base64.b64decode(address.translate(str.maketrans("-_", "+/")))
    return f"{int.from_bytes(body[1:2], signed=True)}:{body[2:-2].hex()}"


def _hedera(address: str) -> Account:
    number = int(address.partition("-")[0].rpartition(".")[2])
    return Account(number.to_bytes(8))


def _wrong() -> NoReturn:
    raise ValueError("the checksum is wrong")


_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
_SEGWIT = "1(?:[02-9ac-hj-np-z]{8,87}|[02-9AC-HJ-NP-Z]{8,87})"

FORMATS: Mapping[Family, Format] = {
    "evm": Format("an EVM network", "0x and 40 hex digits", "0x[0-9a-fA-F]{40}", _evm),
    "solana": Format("Solana", "32 to 44 characters in base58", _BASE58 + "{32,44}", _solana, checksum=False),
    "bitcoin": Format(
        "Bitcoin",
        "it begins with bc1, 1 or 3",
        f"(?:bc|BC|tb|TB){_SEGWIT}|[123mn]{_BASE58}{{25,34}}",
        _bitcoin_like("bc", "tb", b"\x00\x05", b"\x6f\xc4"),
    ),
    "litecoin": Format(
        "Litecoin",
        "it begins with ltc1, L or M",
        f"(?:ltc|LTC|tltc|TLTC){_SEGWIT}|[LMmnQ]{_BASE58}{{25,34}}",
        _bitcoin_like("ltc", "tltc", b"\x30\x32", b"\x6f\x3a"),
    ),
    "dogecoin": Format(
        "Dogecoin", "it begins with D, A or 9", f"[DA9n2m]{_BASE58}{{25,34}}", _base58check(b"\x1e\x16", b"\x71\xc4")
    ),
    "bitcoin_cash": Format(
        "Bitcoin Cash",
        "it begins with bitcoincash:q or q",
        "(?:bitcoincash:)?[qp][02-9ac-hj-np-z]{41}|(?:BITCOINCASH:)?[QP][02-9AC-HJ-NP-Z]{41}",
        _bitcoin_cash,
    ),
    "tron": Format("Tron", "T and 33 more characters", f"T{_BASE58}{{33}}", _base58check(b"\x41")),
    "ripple": Format(
        "the XRP Ledger",
        "a classic address that begins with r; its tag goes into extra_id",
        f"r{_BASE58}{{24,34}}",
        _base58check(b"\x00", ripple=True),
    ),
    "stellar": Format("Stellar", "G and 55 more characters", "G[A-Z2-7]{55}", _stellar),
    "ton": Format(
        "TON",
        "48 characters that begin with EQ or UQ",
        "[-_A-Za-z0-9]{48}|[+/A-Za-z0-9]{48}|(?:0|-1):[0-9a-fA-F]{64}",
        _ton,
    ),
    "hedera": Format("Hedera", "0.0. and a number", r"0\.0\.(?:0|[1-9][0-9]{0,17})(?:-[a-z]{5})?", _hedera),
}

# Families in which equal addresses can be written differently.
NORMAL_FORMS: Mapping[Family, Callable[[str], str]] = {
    "evm": str.lower,
    "bitcoin": _normal_segwit,
    "litecoin": _normal_segwit,
    "bitcoin_cash": lambda address: address.lower().removeprefix("bitcoincash:"),
    "ton": _normal_ton,
    "hedera": lambda address: address.partition("-")[0],
}
