from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.decryption import MAX_PLAINTEXT_BYTES, DecryptionError, DecryptionFault, decrypt_field, wipe
from tests.support.vault_cards import Sealed, encode, new_key, seal

# Test cases 2 and 3 of the GCM specification (McGrew and Viega), adopted by NIST: AES-128, no associated data.
ZEROS = bytes(16).hex()
NIST_VECTORS = [
    pytest.param(
        ZEROS,
        bytes(12).hex(),
        ZEROS,
        "0388dace60b6a392f328c2b971b2fe78",
        "ab6e47d42cec13bdf53a67b21257bddf",
        id="one block of zeros",
    ),
    pytest.param(
        "feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
        "4d5c2af327cd64a62cf35abd2ba6fab4",
        id="four blocks",
    ),
]


@pytest.mark.parametrize(("key", "iv", "plaintext", "ciphertext", "tag"), NIST_VECTORS)
def test_decryption_matches_the_gcm_specification_test_cases(
    key: str, iv: str, plaintext: str, ciphertext: str, tag: str
) -> None:
    field = Sealed(encode(bytes.fromhex(ciphertext + tag)), encode(bytes.fromhex(iv)))
    assert decrypt_field(Secret(key), field).hex() == plaintext


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=1, max_size=MAX_PLAINTEXT_BYTES), st.booleans())
def test_decryption_opens_the_output_of_another_implementation(key: bytes, plaintext: bytes, capitals: bool) -> None:
    key_hex = key.hex().upper() if capitals else key.hex()
    assert decrypt_field(Secret(key_hex), seal(key_hex, plaintext)) == plaintext


KEY = new_key()
FIELD = seal(KEY, b"12345")
RAW = base64.b64decode(FIELD.data)


def _stray_bits(text: str) -> str:
    """Return another base64 spelling of the same bytes: the last letter before the padding has unused bits set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    stem = text.rstrip("=")
    return stem[:-1] + alphabet[alphabet.index(stem[-1]) + 1] + "=" * (len(text) - len(stem))


PADDED = seal(KEY, b"123456")
WITH_SLASH = next(field for field in (seal(KEY, b"12345") for _ in range(10_000)) if {"/", "+"} & set(field.data))

MALFORMED = [
    pytest.param(KEY[:-1], FIELD, DecryptionFault.KEY, id="key of 31 characters"),
    pytest.param(KEY[:-2], FIELD, DecryptionFault.KEY, id="key of 15 bytes"),
    pytest.param(KEY + "0", FIELD, DecryptionFault.KEY, id="key of 33 characters"),
    pytest.param(KEY * 2, FIELD, DecryptionFault.KEY, id="key of AES-256"),
    pytest.param("g" + KEY[1:], FIELD, DecryptionFault.KEY, id="key not hex"),
    pytest.param(" " + KEY[1:-1] + " ", FIELD, DecryptionFault.KEY, id="key with blanks"),
    pytest.param("٣" + KEY[1:], FIELD, DecryptionFault.KEY, id="key with a foreign digit"),
    pytest.param(KEY + "\n", FIELD, DecryptionFault.KEY, id="key with a newline"),
    pytest.param(KEY, seal(KEY, b"12345", iv_bytes=11), DecryptionFault.IV, id="IV of 11 bytes"),
    pytest.param(KEY, seal(KEY, b"12345", iv_bytes=13), DecryptionFault.IV, id="IV of 13 bytes"),
    pytest.param(KEY, seal(KEY, b"12345", iv_bytes=16), DecryptionFault.IV, id="IV of 16 bytes"),
    pytest.param(KEY, replace(FIELD, iv=""), DecryptionFault.IV, id="IV empty"),
    pytest.param(KEY, replace(FIELD, iv="!" + FIELD.iv[1:]), DecryptionFault.IV, id="IV not base64"),
    pytest.param(KEY, replace(FIELD, iv=FIELD.iv + "\n"), DecryptionFault.IV, id="IV with a newline"),
    pytest.param(KEY, replace(FIELD, iv="A" * 100_000), DecryptionFault.IV, id="IV much too long"),
    pytest.param(KEY, replace(FIELD, data=""), DecryptionFault.DATA, id="data empty"),
    pytest.param(KEY, replace(FIELD, data=encode(RAW[:15])), DecryptionFault.DATA, id="data shorter than a tag"),
    pytest.param(KEY, seal(KEY, b""), DecryptionFault.DATA, id="a tag and nothing else"),
    pytest.param(KEY, seal(KEY, bytes(MAX_PLAINTEXT_BYTES + 1)), DecryptionFault.DATA, id="plaintext too long"),
    pytest.param(KEY, replace(FIELD, data="A" * 100_000), DecryptionFault.DATA, id="data much too long"),
    pytest.param(KEY, replace(FIELD, data="?" + FIELD.data[1:]), DecryptionFault.DATA, id="data not base64"),
    pytest.param(KEY, replace(FIELD, data="é" + FIELD.data[1:]), DecryptionFault.DATA, id="data not ASCII"),
    pytest.param(
        KEY, replace(FIELD, data=FIELD.data[:4] + "\n" + FIELD.data[4:]), DecryptionFault.DATA, id="data in lines"
    ),
    pytest.param(KEY, replace(PADDED, data=PADDED.data.rstrip("=")), DecryptionFault.DATA, id="data without padding"),
    pytest.param(KEY, replace(PADDED, data=PADDED.data + "AAAA"), DecryptionFault.DATA, id="data after the padding"),
    pytest.param(KEY, replace(PADDED, data=_stray_bits(PADDED.data)), DecryptionFault.DATA, id="data with stray bits"),
    pytest.param(
        KEY,
        replace(WITH_SLASH, data=WITH_SLASH.data.replace("/", "_").replace("+", "-")),
        DecryptionFault.DATA,
        id="data in the URL-safe alphabet",
    ),
    pytest.param(
        KEY, replace(FIELD, data=encode(RAW[:-1] + bytes([RAW[-1] ^ 1]))), DecryptionFault.TAG, id="tag flipped"
    ),
    pytest.param(
        KEY, replace(FIELD, data=encode(bytes([RAW[0] ^ 128]) + RAW[1:])), DecryptionFault.TAG, id="byte flipped"
    ),
    pytest.param(KEY, replace(FIELD, data=encode(RAW[-16:] + RAW[:-16])), DecryptionFault.TAG, id="tag in front"),
    pytest.param(KEY, replace(FIELD, data=encode(RAW[:-1])), DecryptionFault.TAG, id="last byte cut"),
    pytest.param(KEY, replace(FIELD, iv=encode(bytes(12))), DecryptionFault.TAG, id="another IV"),
    pytest.param(new_key(), FIELD, DecryptionFault.TAG, id="another key"),
]


@pytest.mark.parametrize(("key", "field", "fault"), MALFORMED)
def test_malformed_secrets_are_refused_without_their_values(key: str, field: Sealed, fault: DecryptionFault) -> None:
    with pytest.raises(DecryptionError) as caught:
        decrypt_field(Secret(key), field)
    assert caught.value.fault is fault
    assert caught.value.args == ("the card's secrets were refused",)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_wiping_zeroes_the_buffer_in_place() -> None:
    buffer = bytearray(b"12345")
    view = memoryview(buffer)
    wipe(buffer)
    assert bytes(view) == bytes(5)
