"""Read a Solana cluster through the operator's node, by JSON-RPC."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from machines_mcp.chain.faults import RpcUnavailable
from machines_mcp.chain.json_rpc import MAX_BYTES, SECONDS, JsonRpc, RpcRefused
from machines_mcp.chain.rpc_values import MAX_BLOCK
from machines_mcp.chain.solana_accounts import MAX_ACCOUNT_BYTES
from machines_mcp.redaction.secret import Secret

CAIP2: Final = {
    900: "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
    901: "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
}
"""The clusters by the chain id that the API uses for them: mainnet and devnet."""
# A CAIP-2 name holds so much of the hash of the first block.
_REFERENCE_LENGTH: Final = 32
_CONFIRMED: Final = {"encoding": "base64", "commitment": "confirmed"}


@dataclass(frozen=True, slots=True)
class SolanaAccount:
    """An account: the program that owns it, in base58, and its data."""

    owner: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Blockhash:
    """A recent block. A transaction that names it is valid up to a height, which is 60 to 90 seconds later."""

    hash: str
    last_valid_block_height: int


class SolanaRpc:
    """The node of one cluster. Its address is https, or loopback. All methods raise `RpcUnavailable`.

    `seconds` is the time limit of one request.
    """

    def __init__(self, url: Secret, chain_id: int, *, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> None:
        self.chain_id = chain_id
        self._node = JsonRpc(url, seconds=seconds, max_bytes=max_bytes)
        self._is_right_cluster: bool | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._node.aclose()

    async def check_cluster(self) -> bool | None:
        """Compare the cluster's first block with the chain id. It is read once. None: the node does not say."""
        if self._is_right_cluster is None:
            try:
                genesis = await self._node.call("getGenesisHash", [])
            except RpcRefused:
                return None
            if not isinstance(genesis, str):
                raise RpcUnavailable("its answer is not JSON-RPC")
            self._is_right_cluster = CAIP2.get(self.chain_id) == f"solana:{genesis[:_REFERENCE_LENGTH]}"
        if not self._is_right_cluster:
            raise RpcUnavailable("it is a node of another chain")
        return True

    async def account(self, address: str) -> SolanaAccount | None:
        """Return an account; None if it doesn't exist."""
        match _value(await self._node.call("getAccountInfo", [address, _CONFIRMED])):
            case None:
                return None
            case {"owner": str(owner), "data": [str(data), "base64"]}:
                return SolanaAccount(owner, _decoded(data))
        raise RpcUnavailable("its answer is not JSON-RPC")

    async def latest_blockhash(self) -> Blockhash:
        """Return a blockhash for a new transaction."""
        match _value(await self._node.call("getLatestBlockhash", [{"commitment": "confirmed"}])):
            case {"blockhash": str(text), "lastValidBlockHeight": int(height)} if 0 < height <= MAX_BLOCK:
                return Blockhash(text, height)
        raise RpcUnavailable("its answer is not JSON-RPC")

    async def accepts(self, transaction_base64: str) -> bool:
        """Return whether the cluster would execute an unsigned transaction now."""
        options = {**_CONFIRMED, "sigVerify": False}
        match _value(await self._node.call("simulateTransaction", [transaction_base64, options])):
            case {"err": error}:
                return error is None
        raise RpcUnavailable("its answer is not JSON-RPC")

    async def transaction(self, signature: str) -> Mapping[str, Any] | None:
        """Return a transaction as the node describes it; None if it is not final."""
        options = {"encoding": "base64", "commitment": "finalized", "maxSupportedTransactionVersion": 0}
        found = await self._node.call("getTransaction", [signature, options])
        if found is None or isinstance(found, Mapping):
            return found
        raise RpcUnavailable("its answer is not JSON-RPC")


def _value(answer: Any) -> Any:
    """Return the value of an answer that also names its slot."""
    if not isinstance(answer, Mapping) or "value" not in answer:
        raise RpcUnavailable("its answer is not JSON-RPC")
    return answer["value"]


def _decoded(data: str) -> bytes:
    if len(data) > 4 * -(-MAX_ACCOUNT_BYTES // 3):
        raise RpcUnavailable("its answer is too large")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RpcUnavailable("its answer is not JSON-RPC") from None
