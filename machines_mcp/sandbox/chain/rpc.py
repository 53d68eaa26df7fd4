"""JSON-RPC: the methods that wallets' libraries call to read the chain and to send a transaction."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from machines_mcp.sandbox.chain import rpc_objects
from machines_mcp.sandbox.chain.evm import Failed, Message
from machines_mcp.sandbox.chain.key import GAS_PRICE
from machines_mcp.sandbox.chain.node import ISSUER, Block, Mined, Node
from machines_mcp.sandbox.chain.parameters import BadParameter, address, count, data, hash_of, quantity
from machines_mcp.sandbox.chain.transaction import NotATransaction

MAX_BATCH: Final = 100
# The answer repeats them for each block.
_MAX_PERCENTILES: Final = 100
# A refund, at most a fifth, comes at the end, and each call inside may use only 63 of 64 parts of the gas.
_MARGIN: Final = 1.4
_Show = Callable[[Block, Mined], dict[str, Any]]


class Rpc:
    """Answers the requests to one chain. `on_mined` is called for each transaction before its hash is returned."""

    def __init__(self, node: Node, on_mined: Callable[[Mined], None]) -> None:
        self._node = node
        self._on_mined = on_mined
        self._methods: dict[str, Callable[[list[Any]], Any]] = {
            "eth_chainId": lambda given: hex(node.chain_id),
            "net_version": lambda given: str(node.chain_id),
            "eth_blockNumber": lambda given: hex(node.latest.number),
            "eth_gasPrice": lambda given: hex(GAS_PRICE),
            "eth_maxPriorityFeePerGas": lambda given: "0x0",
            "eth_feeHistory": self._fee_history,
            "eth_getBalance": lambda given: hex(node.balance(address(given, 0))),
            "eth_getTransactionCount": lambda given: hex(node.nonce(address(given, 0))),
            "eth_getCode": lambda given: f"0x{node.code(address(given, 0)).hex()}",
            "eth_call": lambda given: f"0x{node.look(_message(given)).output.hex()}",
            "eth_estimateGas": lambda given: hex(int(node.look(_message(given)).gas_used * _MARGIN)),
            "eth_sendRawTransaction": self._send,
            "eth_getTransactionReceipt": lambda given: self._of_transaction(given, rpc_objects.receipt),
            "eth_getTransactionByHash": lambda given: self._of_transaction(given, rpc_objects.transaction),
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": lambda given: _shown(node.block_of_hash(hash_of(given, 0)), given),
        }

    def answer(self, body: bytes) -> bytes:
        """Return the response to a request or a batch."""
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return _written(_error(None, -32700, "parse error"))
        if not isinstance(asked, list):
            return _written(self._one(asked))
        if not 0 < len(asked) <= MAX_BATCH:
            return _written(_error(None, -32600, f"a batch has 1 to {MAX_BATCH} requests"))
        return _written([self._one(each) for each in asked])

    def _one(self, asked: Any) -> dict[str, Any]:
        known = asked if isinstance(asked, dict) else {}
        number = known.get("id") if isinstance(known.get("id"), str | int) else None
        name, given = known.get("method"), known.get("params", [])
        if not isinstance(name, str) or not isinstance(given, list):
            return _error(number, -32600, "invalid request")
        method = self._methods.get(name)
        if method is None:
            return _error(number, -32601, "the method does not exist or is not available")
        try:
            return {"jsonrpc": "2.0", "id": number, "result": method(given)}
        except BadParameter as fault:
            return _error(number, -32602, str(fault))
        except NotATransaction as fault:
            return _error(number, -32000, str(fault))
        except Failed as failure:
            why = f"execution reverted: {failure.reason}" if failure.reason else "execution reverted"
            return _error(number, 3, why, f"0x{failure.output.hex()}")

    def _send(self, given: list[Any]) -> str:
        mined = self._node.send(data(given, 0))
        self._on_mined(mined)
        return mined.transaction.hash

    def _of_transaction(
        self, given: list[Any], show: Callable[[Block, Mined], dict[str, Any]]
    ) -> dict[str, Any] | None:
        block = self._node.block_of_transaction(hash_of(given, 0))
        if block is None or block.mined is None:
            return None
        return show(block, block.mined)

    def _block_by_number(self, given: list[Any]) -> dict[str, Any] | None:
        number = count(given, 0, {"earliest": 0}, self._node.latest.number)
        return _shown(self._node.block(number), given)

    def _fee_history(self, given: list[Any]) -> dict[str, Any]:
        blocks = min(quantity(given, 0), self._node.latest.number + 1, 1024)
        newest = count(given, 1, {"earliest": 0}, self._node.latest.number)
        wanted = given[2] if len(given) > 2 and isinstance(given[2], list) else []
        if len(wanted) > _MAX_PERCENTILES:
            raise BadParameter(f"parameter 2 must have at most {_MAX_PERCENTILES} percentiles")
        return {
            "oldestBlock": hex(max(0, newest - blocks + 1)),
            "baseFeePerGas": [hex(GAS_PRICE)] * (blocks + 1),
            "gasUsedRatio": [0.0] * blocks,
            "reward": [["0x0"] * len(wanted)] * blocks,
        }


def too_large() -> bytes:
    """Return the response to a body that is not read."""
    return _written(_error(None, -32600, "the request is too large"))


def _message(given: list[Any]) -> Message:
    """Read the object of `eth_call`. Without `from`, the call is the issuer's."""
    asked = given[0] if given and isinstance(given[0], dict) else {}
    named = {"to": asked.get("to"), "from": asked.get("from") or ISSUER, "data": asked.get("data", asked.get("input"))}
    return Message(
        sender=address([named["from"]], 0),
        to=address([named["to"]], 0),
        data=data([named["data"] or "0x"], 0),
        value=quantity([asked.get("value") or "0x0"], 0),
    )


def _shown(block: Block | None, given: list[Any]) -> dict[str, Any] | None:
    return None if block is None else rpc_objects.block(block, whole=given[1:2] == [True])


def _error(number: Any, code: int, message: str, output: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if output is not None:
        error["data"] = output
    return {"jsonrpc": "2.0", "id": number, "error": error}


def _written(answer: Any) -> bytes:
    return json.dumps(answer).encode()
