"""Check the API's read endpoints against the models for `doctor --probe`.

They are read for a user whom the operator named, because a session makes its user. The simulator gets a made-up one.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from machines_mcp.server.app import App
from machines_mcp.tools.example_identity import example_application

if TYPE_CHECKING:
    from machines_mcp.partner import PartnerClient
    from machines_mcp.partner.probe import EndpointResult


async def probe(app: App) -> list[EndpointResult] | None:
    """Call every read endpoint. In `embedded`, first create a simulator user with a card.

    Returns None if the operator named no user.

    Raises:
        PartnerError: The simulator did not start, or rejected the user.
    """
    from machines_mcp.partner.probe import Probe

    run, user_id = Probe(), min(app.principal.users or (), default=None)
    if app.settings.simulated:
        user_id = f"probe-{uuid.uuid4().hex}"
        await _create_user(await app.connection.client(), user_id)
    if user_id is None:
        return None
    client = await app.connection.another(on_answer=run.record)
    return await run.run(client, user_id)


def format_result(result: EndpointResult) -> str:
    """Return a row as text for a person."""
    parts = [str(result.status or "-"), *([result.note] if result.note else [])]
    for name in ("missing", "mistyped", "extra"):
        paths = getattr(result.differences, name)
        parts += [f"{name} {', '.join(paths)}"] if paths else []
    return "; ".join(parts)


def result_as_json(result: EndpointResult) -> dict[str, Any]:
    """Return a row as JSON."""
    return {
        "status": result.status,
        "missing": list(result.differences.missing),
        "mistyped": list(result.differences.mistyped),
        "extra": list(result.differences.extra),
    }


async def _create_user(client: PartnerClient, user_id: str) -> None:
    await client.users.resolve(user_id)
    await client.kyc.submit(user_id, example_application())
    await client.agreements.accept(user_id)
    await client.deposits.create(user_id, "rusd", "base", amount=25)
    await client.cards.create(user_id)
