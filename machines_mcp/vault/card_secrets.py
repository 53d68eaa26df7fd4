"""Fetch, decrypt and check one card's secrets (steps 13 to 15), for every sink."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from machines_mcp.partner import CardSecrets, PartnerClient
from machines_mcp.partner.errors import Mismatch, NotFound, PartnerError, RateLimited, ServerError, TransportError
from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.decrypted_card import DecryptedCard, decrypt_card
from machines_mcp.vault.decryption import DecryptionError, DecryptionFault
from machines_mcp.vault.reply import Code, VaultReply, clean_brand
from machines_mcp.vault.request import VaultRequest

_SCOPE = "cards.secrets.read"
_SESSION_SECONDS = 60

FACTS = ("brand", "last4", "expiration_month", "expiration_year")


class CardSecretsError(Exception):
    """The card's secrets could not be obtained; `code` says why. The text is constant."""

    def __init__(self, code: Code) -> None:
        super().__init__("the card's secrets could not be obtained")
        self.code = code


@dataclass(frozen=True)
class FetchedCard:
    """A decrypted card, and the checked `FACTS` that every reply contains."""

    card: DecryptedCard
    facts: dict[str, Any]


@asynccontextmanager
async def fetch_card(request: VaultRequest) -> AsyncIterator[FetchedCard]:
    """Yield the decrypted card: `POST /cards/secrets/session`, then `POST /cards/{id}/secrets`.

    Raises `CardSecretsError` before the block is entered.
    """
    with ExitStack() as stack:
        with _mapped_errors():
            key, secrets = await _fetch(request)
            if secrets.last4 not in (None, request.last4):
                raise DecryptionError(DecryptionFault.LAST4)
            opened = decrypt_card(key, secrets.encrypted_pan, secrets.encrypted_cvc, request.last4)
            card = stack.enter_context(opened)
            facts = _facts(request, secrets)
        yield FetchedCard(card, facts)


async def _fetch(request: VaultRequest) -> tuple[Secret, CardSecrets]:
    async with PartnerClient(
        request.base_url,
        request.partner_key,
        proxy=request.proxy,
        ca_certificates=request.ca_certificates,
        card_secrets=True,
        trace=request.trace,
    ) as client:
        await client.sessions.open(request.user_id, [_SCOPE], ttl_seconds=_SESSION_SECONDS)
        session = await client.cards.secrets_session(request.user_id)
        try:
            secrets = await client.cards.secrets(request.user_id, request.card_id, session.session_id)
        except NotFound:
            raise CardSecretsError("card.not_found") from None
    return session.secret_key, secrets


def _facts(request: VaultRequest, secrets: CardSecrets) -> dict[str, Any]:
    reply = VaultReply(
        status="verified",
        code="verified",
        sink="none",
        brand=clean_brand(secrets.brand),
        last4=request.last4,
        expiration_month=secrets.expiration_month,
        expiration_year=secrets.expiration_year,
    )
    return reply.model_dump(include=set(FACTS))


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except DecryptionError as error:
        raise CardSecretsError(_code_of_fault(error.fault)) from None
    except ValidationError:
        # Only the expiry can be invalid: the other fields are our own or cleaned.
        raise CardSecretsError("secrets.malformed") from None
    except PartnerError as error:
        raise CardSecretsError(_code_of_partner(error)) from None


def _code_of_fault(fault: DecryptionFault) -> Code:
    if fault is DecryptionFault.LAST4:
        return "secrets.mismatch"
    return "secrets.unauthentic" if fault is DecryptionFault.TAG else "secrets.malformed"


def _code_of_partner(error: PartnerError) -> Code:
    if isinstance(error, Mismatch):
        return "secrets.mismatch"
    passing = isinstance(error, TransportError | RateLimited | ServerError)
    return "partner.unavailable" if passing else "partner.rejected"
