"""The nodes of chains, opened on first use: those that the operator set, and those of the embedded simulator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from machines_mcp.redaction.secret import Secret

if TYPE_CHECKING:
    from machines_mcp.chain.rpc import EvmRpc
    from machines_mcp.chain.solana_rpc import SolanaRpc
    from machines_mcp.chain.terms import KnownChain
    from machines_mcp.server.sandbox_endpoint import SandboxChain


class ChainNodes:
    """One client for each chain. `urls` has the operator's addresses by chain id, `simulated` the simulator's chains.

    `on_close` gets the close function of each client.
    """

    def __init__(
        self,
        urls: Mapping[int, Secret],
        simulated: Callable[[], Awaitable[Mapping[int, SandboxChain]]],
        on_close: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._urls = urls
        self._simulated = simulated
        self._on_close = on_close
        self._evm: dict[int, EvmRpc] = {}
        self._solana: dict[int, SolanaRpc] = {}

    async def evm(self, chain_id: int) -> EvmRpc | None:
        """Return the node of an EVM chain, or None."""
        from machines_mcp.chain.rpc import EvmRpc

        url = await self._url(chain_id)
        if url is None:
            return None
        if chain_id not in self._evm:
            self._evm[chain_id] = EvmRpc(url, chain_id)
            self._on_close(self._evm[chain_id].aclose)
        return self._evm[chain_id]

    async def solana(self, chain_id: int) -> SolanaRpc | None:
        """Return the node of a Solana cluster, or None."""
        from machines_mcp.chain.solana_rpc import SolanaRpc

        url = await self._url(chain_id)
        if url is None:
            return None
        if chain_id not in self._solana:
            self._solana[chain_id] = SolanaRpc(url, chain_id)
            self._on_close(self._solana[chain_id].aclose)
        return self._solana[chain_id]

    async def known(self, chain_id: int) -> KnownChain | None:
        """Return the contracts and tokens of a chain of the simulator; None of another."""
        from machines_mcp.chain.terms import KnownChain

        chain = (await self._simulated()).get(chain_id)
        return None if chain is None else KnownChain(targets=frozenset(chain.targets), tokens=chain.tokens)

    async def _url(self, chain_id: int) -> Secret | None:
        if chain_id in self._urls:
            return self._urls[chain_id]
        chain = (await self._simulated()).get(chain_id)
        return None if chain is None else Secret(chain.rpc_url)
