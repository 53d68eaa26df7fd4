"""Read an EVM chain through the operator's node."""

from __future__ import annotations

from typing import Any

from machines_mcp.chain.faults import RpcUnavailable
from machines_mcp.chain.json_rpc import MAX_BYTES, SECONDS, JsonRpc, RpcRefused
from machines_mcp.chain.rpc_values import Receipt, Reverted, as_data, as_input, as_quantity, as_receipt, revert_data
from machines_mcp.redaction.secret import Secret


class EvmRpc:
    """The node of one chain. Its chain id is compared before anything else is read.

    All methods raise `RpcUnavailable` if the node gives no usable answer.
    """

    def __init__(self, url: Secret, chain_id: int, *, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> None:
        self.chain_id = chain_id
        self._node = JsonRpc(url, seconds=seconds, max_bytes=max_bytes)
        self._is_right_chain = False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._node.aclose()

    async def check_chain(self) -> None:
        """Compare the node's chain id. It is read once.

        Raises:
            RpcUnavailable: It is another, or there is no usable answer.
        """
        if self._is_right_chain:
            return
        if as_quantity(await self._node.call("eth_chainId", [])) != self.chain_id:
            raise RpcUnavailable("it is a node of another chain")
        self._is_right_chain = True

    async def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """Return what a contract answers to a call that changes nothing.

        Raises:
            Reverted: The contract refuses the call.
        """
        fields = {"to": to, "data": f"0x{data.hex()}"} | ({"from": sender} if sender else {})
        try:
            return as_data(await self._read("eth_call", fields, "latest"))
        except RpcRefused as refused:
            returned = revert_data(refused.error)
            if returned is None:
                raise
        raise Reverted(returned)

    async def code(self, address: str) -> bytes:
        """Return the code of an account; empty if it is no contract."""
        return as_data(await self._read("eth_getCode", address, "latest"))

    async def receipt(self, transaction_hash: str) -> Receipt | None:
        """Return the receipt of a transaction; None if it is not mined."""
        found = await self._read("eth_getTransactionReceipt", transaction_hash)
        return None if found is None else as_receipt(found, transaction_hash)

    async def mined_input(self, transaction_hash: str) -> bytes | None:
        """Return the calldata of a transaction; None if the node does not know it."""
        found = await self._read("eth_getTransactionByHash", transaction_hash)
        return None if found is None else as_input(found, transaction_hash)

    async def _read(self, method: str, *params: Any) -> Any:
        await self.check_chain()
        return await self._node.call(method, list(params))
