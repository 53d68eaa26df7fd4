"""The sink `sealed`: a compact JWE (RFC 7516) that only the operator's private key can decrypt."""

from __future__ import annotations

import json

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from machines_mcp.vault.card_secrets import CardSecretsError, FetchedCard, fetch_card
from machines_mcp.vault.public_key import EllipticKey, MontgomeryKey
from machines_mcp.vault.reply import SealedReply, VaultReply
from machines_mcp.vault.request import VaultRequest

ALGORITHM = "ECDH-ES+A256KW"
ENCRYPTION = "A256GCM"


async def seal(request: VaultRequest) -> VaultReply:
    """Seal the card to the request's recipient. Raises `CardSecretsError`."""
    key = _key(request.recipient)
    async with fetch_card(request) as opened:
        token = _sealed(opened, request.card_id, key)
        return SealedReply(status="sealed", code="sealed", sink="sealed", jwe=token, **opened.facts)


def _key(recipient: EllipticKey | MontgomeryKey | None) -> ECKey | OKPKey:
    # Try the key before anything is fetched. This detects a point off its curve or of low order.
    try:
        if isinstance(recipient, EllipticKey):
            key: ECKey | OKPKey = ECKey.import_key(recipient.model_dump())
        elif recipient is not None:
            key = OKPKey.import_key(recipient.model_dump())
        else:
            raise CardSecretsError("recipient.unusable")
        _encrypted(b"", key)
    except (JoseError, ValueError):
        raise CardSecretsError("recipient.unusable") from None
    return key


def _sealed(opened: FetchedCard, card_id: str, key: ECKey | OKPKey) -> str:
    content = {"pan": opened.card.number.decode(), "cvc": opened.card.cvc.decode(), "card_id": card_id}
    content |= {name: opened.facts[name] for name in ("expiration_month", "expiration_year", "brand")}
    return _encrypted(json.dumps(content).encode(), key)


def _encrypted(content: bytes, key: ECKey | OKPKey) -> str:
    # The thumbprint (RFC 7638) tells the operator which of their keys was used.
    header = {"alg": ALGORITHM, "enc": ENCRYPTION, "cty": "json", "kid": key.thumbprint()}
    return jwe.encrypt_compact(header, content, key, algorithms=[ALGORITHM, ENCRYPTION])
