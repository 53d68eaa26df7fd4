"""The demo's wallet: it signs and sends what the tools give it, like a wallet that knows nothing of this server."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from machines_mcp.redaction.secret import Secret

_SECONDS = 10.0
GAS = 500_000


class DemoWallet:
    """An account with its key, and a node of its chain on this machine."""

    def __init__(self, address: str, key: Secret, rpc_url: str) -> None:
        self.address = address
        self._key = key
        self._rpc_url = rpc_url

    def sign(self, typed_data: Mapping[str, Any]) -> str:
        """Return the signature of typed data (`eth_signTypedData_v4`), as 0x and hex."""
        account = _library()
        signed = account.sign_typed_data(self._key.expose(), full_message=dict(typed_data))
        return f"0x{bytes(signed.signature).hex()}"

    def send(self, transaction: Mapping[str, Any], gas: int = GAS) -> str:
        """Sign and send a transaction (`eth_sendTransaction`), and return its hash."""
        fee = int(self.call("eth_gasPrice"), 16)
        filled = {
            "to": bytes.fromhex(transaction["to"][2:]),
            "data": transaction["data"],
            "value": int(transaction["value"], 16),
            "chainId": int(transaction["chainId"], 16),
            "nonce": int(self.call("eth_getTransactionCount", self.address, "latest"), 16),
            "gas": gas,
            "maxFeePerGas": 2 * fee,
            "maxPriorityFeePerGas": 0,
            "type": 2,
        }
        signed = _library().sign_transaction(filled, self._key.expose())
        return str(self.call("eth_sendRawTransaction", f"0x{bytes(signed.raw_transaction).hex()}"))

    def call(self, method: str, *params: Any) -> str:
        """Return the result of a request to the node."""
        found = urlsplit(self._rpc_url)
        connection = HTTPConnection(found.hostname or "", found.port, timeout=_SECONDS)
        try:
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            connection.request("POST", found.path, body, {"content-type": "application/json"})
            return str(json.loads(connection.getresponse().read())["result"])
        finally:
            connection.close()


def _library() -> Any:
    limit = sys.getrecursionlimit()
    from eth_account import Account

    # The library raises the limit a hundredfold, with which nested JSON could end the process.
    sys.setrecursionlimit(limit)
    return Account
