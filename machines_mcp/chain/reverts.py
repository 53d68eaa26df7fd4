"""Why a contract reverted, in our words: what a contract says is never repeated."""

from __future__ import annotations

import functools
from collections.abc import Mapping

# The texts of the verified controller, and the errors of the newer contracts by name.
_TEXTS: Mapping[str, str] = {
    "Unauthorized": "the sender is not an admin of the collateral",
    "Expired signature": "the signature has expired",
    "ExpiredSignature": "the signature has expired",
    "Invalid signature": "a signature does not fit the arguments, the sender and the nonce on chain",
    "InvalidSignature": "a signature does not fit the arguments, the sender and the nonce on chain",
    "UnderAdminThreshold": "the collateral needs the signatures of several admins",
    "DuplicateSigner": "an admin signed twice",
    "InconsistentInputLength": "the salts and signatures of the admins are not equally many",
    "AddressZero": "an address is zero",
}
UNKNOWN = "they refuse it without a reason that is known"


def reason_of(data: bytes) -> str:
    """Return the reason in what a reverted call returned, as a clause."""
    if data[:4] == _selector("Error(string)") and len(data) >= 68:
        size = int.from_bytes(data[36:68])
        return _TEXTS.get(data[68 : 68 + min(size, 64)].decode("ascii", "replace"), UNKNOWN)
    names = {_selector(f"{name}()"): words for name, words in _TEXTS.items() if name.isalpha()}
    return names.get(data[:4], UNKNOWN)


@functools.cache
def _selector(form: str) -> bytes:
    from eth_utils.crypto import keccak

    return keccak(text=form)[:4]
