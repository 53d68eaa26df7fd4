"""Random payment addresses, well-formed for their chain, including checksums."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import Final

_BITCOIN: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_RIPPLE: Final = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
_TESTNET_KEY_HASH: Final = b"\x6f"
_STELLAR_ACCOUNT: Final = b"\x30"


def new_address(family: str) -> str:
    """Return a new address of the family: `evm`, `solana`, `bitcoin` (testnet), `hedera`, `ripple` or `stellar`."""
    match family:
        case "evm":
            return "0x" + secrets.token_hex(20)
        case "solana":
            return base58(secrets.token_bytes(32))
        case "bitcoin":
            return base58(_checked(_TESTNET_KEY_HASH + secrets.token_bytes(20)), _BITCOIN)
        case "ripple":
            return base58(_checked(b"\x00" + secrets.token_bytes(20)), _RIPPLE)
        case "stellar":
            body = _STELLAR_ACCOUNT + secrets.token_bytes(32)
            return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode()
        case "hedera":
            return f"0.0.{secrets.randbelow(9_000_000) + 1_000_000}"
        case _:
            raise ValueError("unknown address family")


def new_memo() -> str:
    """Return an extra id: a number that every memo network accepts as a destination tag."""
    return str(secrets.randbelow(900_000_000) + 100_000_000)


def _checked(body: bytes) -> bytes:
    return body + hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4]


def base58(body: bytes, alphabet: str = _BITCOIN) -> str:
    """Encode bytes in base 58, keeping leading zeros. Solana addresses use this encoding."""
    number, text = int.from_bytes(body), ""
    while number:
        number, digit = divmod(number, 58)
        text = alphabet[digit] + text
    return alphabet[0] * (len(body) - len(body.lstrip(b"\x00"))) + text
