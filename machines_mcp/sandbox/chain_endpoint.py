"""The JSON-RPC endpoints of the chains, and what the first line says of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response

from machines_mcp.sandbox import settlement
from machines_mcp.sandbox.body import read_body
from machines_mcp.sandbox.envelope import Refusal

if TYPE_CHECKING:
    from machines_mcp.sandbox.chain.chains import Chains
    from machines_mcp.sandbox.state import State

_DECIMALS: Final = 6


def routes(state: State) -> list[tuple[str, Callable[[Request], Awaitable[Response]]]]:
    """Return the path and the endpoint of each chain; none without chains."""
    found = [] if state.chains is None else list(state.chains.deployments)
    return [(_path(chain_id), _endpoint(state, chain_id)) for chain_id in found]


def announcement(chains: Chains, origin: str) -> dict[str, Any]:
    """Return the addresses of each chain's RPC and contracts, the first chain, and the wallet with its key."""
    found = {
        str(chain_id): {
            "rpc_url": origin + _path(chain_id),
            "targets": [deployment.site.entry_point],
            "tokens": [{"address": deployment.site.token, "decimals": _DECIMALS}],
        }
        for chain_id, deployment in chains.deployments.items()
    }
    first = next(iter(chains.deployments))
    wallet = {"address": chains.wallet.address, "private_key": chains.wallet.secret}
    return {"rpc_url": origin + _path(first), "chain_id": first, "wallet": wallet, "chains": found}


def _path(chain_id: int) -> str:
    return f"/chain/{chain_id}"


def _endpoint(state: State, chain_id: int) -> Callable[[Request], Awaitable[Response]]:
    from machines_mcp.sandbox.chain.rpc import Rpc, too_large

    async def answer(request: Request) -> Response:
        try:
            body = await read_body(request)
        except Refusal:
            return Response(too_large(), 413, media_type="application/json")
        if state.chains is None:
            raise LookupError("the route exists with chains only")
        # Looked up for each request: a reset begins the chains anew.
        node = state.chains.deployments[chain_id].node
        with state.transaction():
            settlement.sync(state)
            answered = Rpc(node, lambda mined: settlement.follow(state, chain_id, mined)).answer(body)
        return Response(answered, media_type="application/json")

    return answer
