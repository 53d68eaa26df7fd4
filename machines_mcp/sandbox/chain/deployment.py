"""The contracts of one chain: a token, an entry point, and the collateral of each user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.address import to_checksum_address

from machines_mcp.sandbox.chain.abi import call_data, topic
from machines_mcp.sandbox.chain.evm import Log, Message
from machines_mcp.sandbox.chain.node import ISSUER, Node

# How many admins must sign a withdrawal of version 2.
_THRESHOLD: Final = 1
_ENTRY_POINTS: Final = {1: "controller", 2: "coordinator"}
# Both have the collateral as an indexed field. What version 2 indexes beyond that is not needed here.
_WITHDRAWALS: Final = {
    1: topic("Withdrawal(address,address,uint256)"),
    2: topic("Withdrawal(address,address,address,uint256)"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where the contracts of a chain stand, and the version of its entry point."""

    chain_id: int
    version: int
    entry_point: str
    token: str
    token_name: str


class Deployment:
    """The contracts on a node, from the runtime code of each. Money is in units of the token."""

    def __init__(self, node: Node, site: Site, executor: str, codes: Mapping[str, bytes]) -> None:
        self.node = node
        self.site = site
        self._codes = codes
        self._proxies: set[str] = set()
        self._admins: set[tuple[str, str]] = set()
        node.place(site.token, codes["token"])
        self._issue(site.token, "initialize(address,string,string)", ISSUER, site.token_name, site.token_name)
        node.place(site.entry_point, codes[_ENTRY_POINTS[site.version]])
        self._issue(site.entry_point, "initialize(address,address)", executor, ISSUER)

    def add_proxy(self, proxy: str) -> None:
        """Deploy a user's collateral at this address, unless it is there."""
        if proxy in self._proxies:
            return
        self._proxies.add(proxy)
        self.node.place(proxy, self._codes["collateral"])
        self._issue(proxy, "initialize(address,address,uint256)", self.site.entry_point, ISSUER, _THRESHOLD)

    def admit(self, proxy: str, admin: str) -> None:
        """Make an account an admin of the collateral, with a coin for fees."""
        self.node.fund(admin)
        if (proxy, admin) not in self._admins:
            self._admins.add((proxy, admin))
            self._issue(proxy, "addAdmin(address)", admin)

    def mint(self, holder: str, amount: int) -> None:
        self._issue(self.site.token, "mint(address,uint256)", holder, amount)

    def burn(self, holder: str, amount: int) -> None:
        self._issue(self.site.token, "burn(address,uint256)", holder, amount)

    def balance(self, holder: str) -> int:
        return self._read(self.site.token, "balanceOf(address)", holder)

    def nonce(self, proxy: str) -> int:
        """Return the nonce that the next withdrawal of this collateral is signed for."""
        if self.site.version == 1:
            return self._read(self.site.entry_point, "nonce(address)", proxy)
        return self._read(proxy, "adminNonce()")

    def raise_nonce(self, proxy: str) -> None:
        """Void the signatures for the present nonce."""
        if self.site.version == 1:
            self._issue(self.site.entry_point, "increaseNonce(address,uint256)", proxy, 1)
        else:
            self._issue(proxy, "increaseNonce(uint256)", 1)

    def withdrawn_from(self, logs: Iterable[Log]) -> list[str]:
        """Return the proxies from which a transaction with these events withdrew, in lower case."""
        entry_point, event = to_checksum_address(self.site.entry_point), _WITHDRAWALS[self.site.version]
        return [f"0x{log.topics[1][-40:]}" for log in logs if (log.address, log.topics[0]) == (entry_point, event)]

    def _issue(self, to: str, form: str, *values: Any) -> None:
        self.node.issue(to, call_data(form, *values))

    def _read(self, to: str, form: str, *values: Any) -> int:
        return int.from_bytes(self.node.look(Message(ISSUER, to, call_data(form, *values))).output)
