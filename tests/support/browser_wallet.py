"""A wallet in a page of Chromium, announced by EIP-6963. Its keys stay in the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.browser import WAIT_SECONDS, Tab
from tests.support.wallets import sign_typed_data

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

DECLINED = {"code": 4001, "message": "User rejected the request."}

# As an extension does it: the page's requests wait in a list until the wallet answers them.
PROVIDER = """(() => {
  window.asked = []; const waits = new Map(); let count = 0;
  window.answer = (id, ok, value) => { const [resolve, reject] = waits.get(id); ok ? resolve(value) : reject(value); };
  const request = ({ method, params }) => new Promise((resolve, reject) => {
    waits.set(++count, [resolve, reject]);
    window.asked.push({ id: count, method, params: params ?? [] });
  });
  const announce = (name) => window.dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail:
    Object.freeze({ info: { uuid: name, name, icon: 'data:,', rdns: 'test.wallet' }, provider: { request } }) }));
  window.addEventListener('eip6963:requestProvider', () => {
    for (const name of window.announced ?? ['Test Wallet', 'Test Wallet']) announce(name);
  });
})();"""


@dataclass
class BrowserWallet:
    """The wallet's account, its network, and which requests its owner declines."""

    account: LocalAccount
    chain_id: int
    decline: Collection[str] = ()
    knows: Collection[int] | None = None
    """The networks that it knows; None for all."""
    signs_with: LocalAccount | None = None
    """Another key that signs, as of a broken wallet."""
    holds: str = ""
    """A request that it leaves open for now: it stops serving there."""
    stays: bool = False
    """Whether it says that it changed the network, and does not."""
    sends: Callable[[dict[str, Any]], str] | None = None
    """Sends a transaction and returns its hash; None returns `transaction_hash` and sends nothing."""
    transaction_hash: str = f"0x{'cd' * 32}"
    asked: list[str] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)

    def respond(self, method: str, params: list[Any]) -> tuple[bool, Any]:
        """Return whether the request succeeds, and its result or error."""
        self.asked.append(method)
        if method in self.decline:
            return False, DECLINED
        match method:
            case "eth_requestAccounts":
                return True, [self.account.address.lower()]
            case "eth_chainId":
                return True, hex(self.chain_id)
            case "wallet_switchEthereumChain":
                return self._switch(int(params[0]["chainId"], 16))
            case "eth_signTypedData_v4":
                assert params[0].lower() == self.account.address.lower()
                signature, _ = sign_typed_data(self.signs_with or self.account, json.loads(params[1]))
                return True, f"0x{signature.hex()}"
            case "eth_sendTransaction":
                self.sent.append(params[0])
                return True, self.sends(params[0]) if self.sends else self.transaction_hash
        return False, {"code": 4200, "message": method}

    def _switch(self, chain_id: int) -> tuple[bool, Any]:
        if self.knows is not None and chain_id not in self.knows:
            return False, {"code": 4902, "message": "Unrecognized chain ID."}
        self.chain_id = self.chain_id if self.stays else chain_id
        return True, None

    def serve(self, page: Tab, until: str = "false") -> None:
        """Answer the page's requests until the expression is true, or until the one that it holds."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not page.evaluate(f"!!({until})"):
            assert time.monotonic() < deadline, (until, self.asked, page.evaluate("document.body.innerText"))
            for request in page.evaluate("window.asked?.splice(0) ?? []") or []:
                if request["method"] == self.holds:
                    page.evaluate(f"window.asked.unshift({json.dumps(request)})")
                    return
                succeeds, value = self.respond(request["method"], request["params"])
                page.evaluate(f"window.answer({request['id']}, {json.dumps(succeeds)}, {json.dumps(value)})")
