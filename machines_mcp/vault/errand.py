"""What the vault is started for: fetch one card's secrets, open and check them, drop them (steps 13 to 15)."""

from __future__ import annotations

from pydantic import ValidationError

from machines_mcp.partner import PartnerClient
from machines_mcp.partner.errors import NotFound, PartnerError, RateLimited, ServerError, TransportError
from machines_mcp.vault.card import open_card
from machines_mcp.vault.request import Code, VaultReply, VaultRequest, clean_brand, failed
from machines_mcp.vault.sealed import Fault, SealedError

_SCOPE = "cards.secrets.read"
_SESSION_SECONDS = 60


async def reveal(request: VaultRequest) -> VaultReply:
    """Fetch, open, check and drop one card's secrets: `POST /cards/secrets/session`, `POST /cards/{id}/secrets`."""
    try:
        return await _reveal(request)
    except SealedError as error:
        return failed(_code_of_fault(error.fault))
    except ValidationError:
        # Only the expiry can do it: the rest of the reply is ours.
        return failed("secrets.malformed")
    except PartnerError as error:
        return failed(_code_of_partner(error))


async def _reveal(request: VaultRequest) -> VaultReply:
    async with PartnerClient(
        request.base_url,
        request.partner_key,
        proxy=request.proxy,
        ca_file=request.ca_file,
        card_secrets=True,
        trace=request.trace,
    ) as client:
        await client.sessions.open(request.user_id, [_SCOPE], ttl_seconds=_SESSION_SECONDS)
        session = await client.cards.secrets_session(request.user_id)
        try:
            secrets = await client.cards.secrets(request.user_id, request.card_id, session.session_id)
        except NotFound:
            return failed("card.not_found")
    if secrets.last4 not in (None, request.last4):
        raise SealedError(Fault.LAST4)
    with open_card(session.secret_key, secrets.encrypted_pan, secrets.encrypted_cvc, request.last4):
        return VaultReply(
            status="verified",
            code="verified",
            sink=request.sink,
            brand=clean_brand(secrets.brand),
            last4=request.last4,
            expiration_month=secrets.expiration_month,
            expiration_year=secrets.expiration_year,
        )


def _code_of_fault(fault: Fault) -> Code:
    if fault is Fault.LAST4:
        return "secrets.mismatch"
    return "secrets.unauthentic" if fault is Fault.TAG else "secrets.malformed"


def _code_of_partner(error: PartnerError) -> Code:
    passing = isinstance(error, TransportError | RateLimited | ServerError)
    return "partner.unavailable" if passing else "partner.rejected"
