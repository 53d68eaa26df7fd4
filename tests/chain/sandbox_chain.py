"""A sandbox with chains, seen as a wallet and a partner see it: over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from machines_mcp.chain.evm import calldata, digest, typed_data
from machines_mcp.chain.order import COORDINATOR, Order, read_order
from machines_mcp.partner.models.withdrawals import Withdrawal
from machines_mcp.sandbox.chain.abi import call_data
from machines_mcp.sandbox.chain.key import Key
from tests.support.running_sandbox import Sandbox
from tests.support.sandbox_caller import SandboxClient, User
from tests.support.waiting import PATIENCE

BASE, ETHEREUM = 84_532, 11_155_111
RECIPIENT = "0x" + "1d" * 20
DESTINATIONS = {BASE: ("rusd", "base"), ETHEREUM: ("usdc", "ethereum")}


class ChainCaller:
    """A partner and a wallet of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.partner = SandboxClient(sandbox)
        self.key = Key(sandbox.wallet["private_key"])
        self._http = httpx.Client(timeout=PATIENCE, trust_env=False)

    def close(self) -> None:
        self.partner.close()
        self._http.close()

    def post(self, content: bytes | str, headers: dict[str, str] | None = None) -> httpx.Response:
        """Send any body to the first chain."""
        return self._http.post(self.sandbox.chains[str(BASE)]["rpc_url"], content=content, headers=headers)

    def answer(self, method: str, *given: Any, chain: int = BASE) -> Any:
        """Return the whole answer to a request."""
        asked = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(given)}
        answered = self._http.post(self.sandbox.chains[str(chain)]["rpc_url"], json=asked)
        assert answered.status_code == 200
        return answered.json()

    def rpc(self, method: str, *given: Any, chain: int = BASE) -> Any:
        """Return the result of a request."""
        return self.answer(method, *given, chain=chain)["result"]

    def read(self, to: str, form: str, *values: Any, chain: int = BASE) -> int:
        """Return the number that a view returns."""
        call = {"to": to, "data": f"0x{call_data(form, *values).hex()}"}
        return int(self.rpc("eth_call", call, "latest", chain=chain), 16)

    def balance(self, holder: str, chain: int = BASE) -> int:
        """Return an account's units of the token."""
        (token,) = self.sandbox.chains[str(chain)]["tokens"]
        return self.read(token["address"], "balanceOf(address)", holder, chain=chain)

    def withdraw(self, user: User, cents: int, chain: int = BASE, **more: Any) -> Any:
        """Ask for a withdrawal until it is signed, and return it."""
        currency, network = DESTINATIONS[chain]
        to = {"currency": currency, "network": network, "address": RECIPIENT}
        body = {"amountCents": cents, "destination": to, "source": {"chainId": chain}} | more
        assert user.call("POST", "/withdrawals", body).data["status"] == "pending"
        data = user.call("POST", "/withdrawals", body).data
        assert data["status"] == "ready"
        return data

    def order(self, data: Any) -> Order:
        """Read the response as the server does."""
        return read_order(Withdrawal.model_validate(data).model_dump(mode="json"))

    def call_data(self, order: Order, sender: Key | None = None) -> bytes:
        """Return the calldata, with the wallet's own signature of the typed data."""
        sender = sender or self.key
        if order.path != COORDINATOR:
            return calldata(order)
        nonce = self.read(order.collateral, "adminNonce()", chain=order.chain_id)
        salt = b"\x05" * 32
        return calldata(order, (salt,), (sender.sign(digest(typed_data(order, sender.address, nonce, salt))),))

    def raw(self, order: Order, sender: Key | None = None, gas: int = 1_000_000) -> str:
        """Return the signed transaction of the wallet."""
        sender = sender or self.key
        count = int(self.rpc("eth_getTransactionCount", sender.address, "latest", chain=order.chain_id), 16)
        data = self.call_data(order, sender)
        return f"0x{sender.transaction(order.chain_id, count, order.target, data, gas).hex()}"

    def send(self, order: Order, sender: Key | None = None, gas: int = 1_000_000) -> bool:
        """Mine the transaction, and return whether it succeeded."""
        mined = self.rpc("eth_sendRawTransaction", self.raw(order, sender, gas), chain=order.chain_id)
        return bool(self.rpc("eth_getTransactionReceipt", mined, chain=order.chain_id)["status"] == "0x1")
