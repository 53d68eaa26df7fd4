"""Blocks, transactions and receipts, as JSON-RPC returns them."""

from __future__ import annotations

from typing import Any, Final

from machines_mcp.sandbox.chain.evm import GAS_LIMIT
from machines_mcp.sandbox.chain.key import GAS_PRICE
from machines_mcp.sandbox.chain.node import Block, Mined

_NO_HASH: Final = f"0x{'00' * 32}"
_NO_BLOOM: Final = f"0x{'00' * 256}"
_NO_ADDRESS: Final = f"0x{'00' * 20}"


def receipt(block: Block, mined: Mined) -> dict[str, Any]:
    """Return a receipt. Its bloom filter is empty, because the chain has no search for logs."""
    place = _place(block, mined)
    logs = [
        place
        | {
            "address": log.address,
            "topics": list(log.topics),
            "data": f"0x{log.data.hex()}",
            "logIndex": hex(index),
            "removed": False,
        }
        for index, log in enumerate(mined.logs)
    ]
    return place | {
        "from": mined.transaction.sender,
        "to": mined.transaction.to,
        "status": hex(mined.succeeded),
        "gasUsed": hex(mined.gas_used),
        "cumulativeGasUsed": hex(mined.gas_used),
        "effectiveGasPrice": hex(GAS_PRICE),
        "contractAddress": None,
        "logs": logs,
        "logsBloom": _NO_BLOOM,
        "type": hex(mined.transaction.kind),
    }


def transaction(block: Block, mined: Mined) -> dict[str, Any]:
    """Return a mined transaction. Its signature is left out: the numbers are placeholders."""
    place, sent = _place(block, mined), mined.transaction
    del place["transactionHash"]
    return place | {
        "hash": sent.hash,
        **({} if sent.chain_id is None else {"chainId": hex(sent.chain_id)}),
        "from": sent.sender,
        "to": sent.to,
        "input": f"0x{sent.data.hex()}",
        "nonce": hex(sent.nonce),
        "value": hex(sent.value),
        "gas": hex(sent.gas),
        "gasPrice": hex(GAS_PRICE),
        "maxFeePerGas": hex(sent.price),
        "maxPriorityFeePerGas": "0x0",
        "type": hex(sent.kind),
        "accessList": [],
        "v": "0x0",
        "r": "0x1",
        "s": "0x1",
    }


def block(found: Block, *, whole: bool) -> dict[str, Any]:
    """Return a block with the hash of its transaction, or the `whole` transaction. Roots are zeros."""
    mined = found.mined
    transactions: list[Any] = []
    if mined is not None:
        transactions = [transaction(found, mined) if whole else mined.transaction.hash]
    return {
        "number": hex(found.number),
        "hash": found.hash,
        "parentHash": found.parent,
        "timestamp": hex(found.timestamp),
        "transactions": transactions,
        "gasUsed": hex(mined.gas_used if mined else 0),
        "gasLimit": hex(GAS_LIMIT),
        "baseFeePerGas": hex(GAS_PRICE),
        "miner": _NO_ADDRESS,
        "difficulty": "0x0",
        "nonce": "0x0000000000000000",
        "extraData": "0x",
        "size": "0x1",
        "uncles": [],
        "logsBloom": _NO_BLOOM,
        **dict.fromkeys(("stateRoot", "receiptsRoot", "transactionsRoot", "sha3Uncles", "mixHash"), _NO_HASH),
    }


def _place(found: Block, mined: Mined) -> dict[str, Any]:
    return {
        "blockHash": found.hash,
        "blockNumber": hex(found.number),
        "transactionHash": mined.transaction.hash,
        "transactionIndex": "0x0",
    }
