"""The sinks without a page: drop the card, seal it to a key, or, if permitted twice, return it in plain text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.card_secrets import CardSecretsError, fetch_card
from machines_mcp.vault.reply import PlaintextReply, VaultReply, failed
from machines_mcp.vault.request import VaultRequest


async def reveal(request: VaultRequest) -> VaultReply:
    """Fetch, decrypt and check a card's secrets, and pass them to the request's sink."""
    try:
        return await _SINKS[request.sink](request)
    except CardSecretsError as error:
        return failed(error.code)


async def _drop(request: VaultRequest) -> VaultReply:
    async with fetch_card(request) as opened:
        return VaultReply(status="verified", code="verified", sink="none", **opened.facts)


async def _seal(request: VaultRequest) -> VaultReply:
    from machines_mcp.vault.jwe_sink import seal

    return await seal(request)


async def _return_plaintext(request: VaultRequest) -> VaultReply:
    async with fetch_card(request) as opened:
        card = opened.card
        return PlaintextReply(
            status="released",
            code="released",
            sink="model",
            pan=Secret(card.number.decode()),
            cvc=Secret(card.cvc.decode()) if request.with_code else None,
            **opened.facts,
        )


_SINKS: dict[str, Callable[[VaultRequest], Awaitable[VaultReply]]] = {
    "none": _drop,
    "sealed": _seal,
    "model": _return_plaintext,
}
