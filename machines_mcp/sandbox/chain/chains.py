"""All chains of a simulator, with the keys that sign on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from machines_mcp.sandbox.chain.artifacts import runtime_codes
from machines_mcp.sandbox.chain.deployment import Deployment, Site
from machines_mcp.sandbox.chain.key import Key
from machines_mcp.sandbox.chain.node import Node


class Chains:
    """The deployments by chain id. `executor` signs withdrawals; `wallet` is an account for tests, with coins.

    `owners` has the user of each proxy, by its address in lower case.
    """

    def __init__(self, sites: Sequence[Site], executor: Key, wallet: Key, clock: Callable[[], float]) -> None:
        self._sites = tuple(sites)
        self._clock = clock
        self.executor = executor
        self.wallet = wallet
        self.restart()

    def restart(self) -> None:
        """Begin all chains anew, with no proxies and no money."""
        self.owners: dict[str, str] = {}
        self._minted: set[str] = set()
        self._minted_until = 0.0
        self.deployments = {site.chain_id: self._deployed(site) for site in self._sites}

    def window(self, now: float) -> float:
        """Return the time up to which deposits are minted, which is `now` from here on.

        It falls if the computer's clock is set back, so that no deposit is missed.
        """
        since, self._minted_until = self._minted_until, now
        return since

    def is_new(self, deposit_id: str) -> bool:
        """Return whether the deposit is to be minted: True once."""
        known = deposit_id in self._minted
        self._minted.add(deposit_id)
        return not known

    def _deployed(self, site: Site) -> Deployment:
        node = Node(site.chain_id, self._clock)
        node.fund(self.wallet.address)
        return Deployment(node, site, self.executor.address, runtime_codes())
