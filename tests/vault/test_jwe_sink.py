"""Test cards sealed by the vault, decrypted with an independent implementation."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import anyio
import pytest
from Crypto.Cipher import AES
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from joserfc.jwk import ECKey, OKPKey

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.client import reveal
from machines_mcp.vault.public_key import EllipticKey, MontgomeryKey, read_recipient
from machines_mcp.vault.reply import MAX_REPLY_BYTES, PlaintextReply, SealedReply, VaultReply, failed, reply_line
from machines_mcp.vault.request import VaultRequest
from tests.support.vault_simulator import OpenedCard, Simulator, wiretap
from tests.support.waiting import PATIENCE
from tests.vault.children import program

pytestmark = pytest.mark.anyio


async def _reveal(api: Simulator, card: OpenedCard, base_url: str | None = None, **changes: Any) -> VaultReply:
    request = VaultRequest(
        base_url=base_url or api.base_url,
        partner_key=Secret(api.partner_key),
        user_id=card.user_id,
        card_id=card.card_id,
        last4=card.last4,
        deadline_seconds=60.0,
        **changes,
    )
    with anyio.fail_after(65.0):
        return await reveal(request)


def _public(key: ECKey | OKPKey) -> EllipticKey | MontgomeryKey:
    return read_recipient(json.dumps(key.as_dict(private=False)))


def _base64url_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _decrypt(token: str, private: dict[str, Any]) -> dict[str, Any]:
    """Decrypt by hand after RFC 7518 4.6, for P-256: derive the shared key, unwrap the content key, decrypt."""
    head, wrapped, iv, content, tag = token.split(".")
    header = json.loads(_base64url_bytes(head))
    assert (header["alg"], header["enc"]) == ("ECDH-ES+A256KW", "A256GCM")

    def number(key: dict[str, Any], name: str) -> int:
        return int.from_bytes(_base64url_bytes(key[name]), "big")

    theirs = ec.EllipticCurvePublicNumbers(number(header["epk"], "x"), number(header["epk"], "y"), ec.SECP256R1())
    ours = ec.derive_private_key(number(private, "d"), ec.SECP256R1())
    agreed = ours.exchange(ec.ECDH(), theirs.public_key())
    name = header["alg"].encode()
    info = len(name).to_bytes(4, "big") + name + b"\0" * 8 + (256).to_bytes(4, "big")
    key = aes_key_unwrap(hashlib.sha256(b"\0\0\0\1" + agreed + info).digest(), _base64url_bytes(wrapped))
    cipher = AES.new(key, AES.MODE_GCM, nonce=_base64url_bytes(iv))
    cipher.update(head.encode())
    return dict(json.loads(cipher.decrypt_and_verify(_base64url_bytes(content), _base64url_bytes(tag))))


def _card_fields(card: OpenedCard) -> dict[str, Any]:
    month, year = card.expiry
    return {
        "pan": card.number,
        "cvc": card.code,
        "card_id": card.card_id,
        "expiration_month": month,
        "expiration_year": year,
        "brand": "VISA",
    }


async def test_only_the_private_key_decrypts_the_card(api: Simulator, card: OpenedCard) -> None:
    key = ECKey.generate_key("P-256", private=True)
    reply = await _reveal(api, card, sink="sealed", recipient=_public(key))
    assert isinstance(reply, SealedReply)
    assert _decrypt(reply.jwe, dict(key.as_dict(private=True))) == _card_fields(card)
    line = reply_line(reply).decode()
    assert card.number not in line
    assert len(line) < MAX_REPLY_BYTES


@pytest.mark.parametrize("curve", ["P-384", "P-521", "X25519"])
async def test_a_card_is_sealed_to_every_supported_key_type(api: Simulator, card: OpenedCard, curve: Any) -> None:
    key = OKPKey.generate_key(curve) if curve == "X25519" else ECKey.generate_key(curve)
    reply = await _reveal(api, card, sink="sealed", recipient=_public(key))
    assert isinstance(reply, SealedReply)
    assert json.loads(_base64url_bytes(reply.jwe.split(".")[0]))["kid"] == key.thumbprint()


@pytest.mark.parametrize(
    "recipient",
    [
        pytest.param(EllipticKey(kty="EC", crv="P-256", x="A" * 43, y="A" * 43), id="no point of the curve"),
        pytest.param(EllipticKey(kty="EC", crv="P-521", x="A" * 43, y="A" * 43), id="another length"),
        pytest.param(MontgomeryKey(kty="OKP", crv="X25519", x="A" * 43), id="a point of low order"),
    ],
)
async def test_an_unusable_key_prevents_every_upstream_call(
    api: Simulator, card: OpenedCard, recipient: EllipticKey | MontgomeryKey
) -> None:
    async with wiretap(api) as tap:
        reply = await _reveal(api, card, tap.base_url, sink="sealed", recipient=recipient)
        assert (reply, tap.posts) == (failed("recipient.unusable"), 0)


async def test_the_model_gets_the_number_and_only_on_request_the_code(api: Simulator, card: OpenedCard) -> None:
    for with_code in (False, True):
        reply = await _reveal(api, card, sink="model", with_code=with_code)
        assert isinstance(reply, PlaintextReply)
        assert reply.pan.expose() == card.number
        assert (reply.cvc and reply.cvc.expose()) == (card.code if with_code else None)
        assert card.number not in f"{reply} {reply!r}"


@pytest.mark.parametrize("sink", ["none", "sealed"])
async def test_a_reply_with_more_than_its_sink_allows_is_refused(
    request_to_closed_port: VaultRequest, sink: Any
) -> None:
    loose = PlaintextReply(
        status="released",
        code="released",
        sink="model",
        last4="0421",
        expiration_month=12,
        expiration_year=2031,
        pan=Secret("9" * 16),
        cvc=None,
    )
    key = _public(ECKey.generate_key("P-256"))
    request = request_to_closed_port.model_copy(update={"sink": sink, "recipient": key if sink == "sealed" else None})
    command = program(f"import os, sys; sys.stdin.readline(); os.write(1, {reply_line(loose)!r})")
    with anyio.fail_after(PATIENCE + 5):
        assert await reveal(request, command=command) == failed("vault.protocol")
