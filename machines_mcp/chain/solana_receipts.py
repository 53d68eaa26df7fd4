"""Compare a Solana transaction with its order: one that was planned, or one that was executed.

Importing this loads `solders`, so a server imports it when it needs it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from solders.transaction import VersionedTransaction

from machines_mcp.chain.faults import RpcUnavailable
from machines_mcp.chain.order import Order
from machines_mcp.chain.receipts import Confirmation
from machines_mcp.chain.rpc_values import MAX_BLOCK
from machines_mcp.chain.solana import WITHDRAW, withdraw_data

# Where the withdraw instruction names what the order says.
_ACCOUNTS: Final = {"from": 0, "collateral": 2, "recipient": 4, "token": 5}
_FIELDS: Final = {"amount": slice(8, 16), "expires_at": slice(16, 24), "salt": slice(24, 56)}
_MAX_DIGITS: Final = 20
_MAX_INDEX: Final = 2**8 - 1
_MAX_CODE: Final = 2**32 - 1


def differences(order: Order, sender: str, transaction: VersionedTransaction, keys: Sequence[str]) -> tuple[str, ...]:
    """Return the names of what differs from the order; `to` if no instruction is for its program.

    `keys` are the transaction's accounts, with those from look-up tables.
    """
    called = [one for one in transaction.message.instructions if _key(keys, one.program_id_index) == order.target]
    found = [
        _argument_differences(order, sender, bytes(one.data), [_key(keys, at) for at in one.accounts])
        for one in called
        if bytes(one.data).startswith(WITHDRAW)
    ]
    return min(found, key=len, default=("function",) if called else ("to",))


def decoded(text: str) -> VersionedTransaction:
    """Return the transaction in this base64. Raises `ValueError`."""
    try:
        return VersionedTransaction.from_bytes(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise ValueError("it is not base64") from error


def compare(order: Order, sender: str, signature: str, answer: Mapping[str, Any]) -> Confirmation:
    """Return what an executed transaction did for the order. `answer` is the node's description of it.

    Raises:
        RpcUnavailable: The description can't be read, or is of another transaction.
    """
    slot, meta = answer.get("slot"), answer.get("meta")
    if type(slot) is not int or not 0 <= slot <= MAX_BLOCK or not isinstance(meta, Mapping) or "err" not in meta:
        raise RpcUnavailable("its answer is not JSON-RPC")
    transaction = _transaction(answer.get("transaction"))
    if [str(one) for one in transaction.signatures[:1]] != [signature]:
        raise RpcUnavailable("its answer is not JSON-RPC")
    keys = [*map(str, transaction.message.account_keys), *_loaded(meta)]
    differs = differences(order, sender, transaction, keys)
    if meta["err"] is not None:
        return Confirmation(state="reverted", block=slot, reason=_reason(meta["err"]), differs=differs)
    if not differs and _received(meta, order) != order.amount:
        differs = ("transfer",)
    return Confirmation(state="different" if differs else "done", block=slot, differs=differs)


def _transaction(given: Any) -> VersionedTransaction:
    match given:
        case [str(text), "base64"]:
            try:
                return decoded(text)
            except ValueError:
                pass
    raise RpcUnavailable("its answer is not JSON-RPC")


def _loaded(meta: Mapping[str, Any]) -> list[str]:
    """Return the accounts from look-up tables, in the order in which instructions count them."""
    match meta.get("loadedAddresses"):
        case None:
            return []
        case {"writable": list(writable), "readonly": list(readonly)}:
            return [*map(str, writable), *map(str, readonly)]
    raise RpcUnavailable("its answer is not JSON-RPC")


def _key(keys: Sequence[str], at: int) -> str:
    return keys[at] if at < len(keys) else ""


def _argument_differences(order: Order, sender: str, data: bytes, accounts: Sequence[str]) -> tuple[str, ...]:
    wanted = {"from": sender, "collateral": order.collateral, "recipient": order.recipient, "token": order.token}
    named = [name for name, at in _ACCOUNTS.items() if _key(accounts, at) != wanted[name]]
    expected = withdraw_data(order.amount, order.expires_at, order.salt)
    named += [name for name, place in _FIELDS.items() if data[place] != expected[place]]
    return tuple(named) if len(data) == len(expected) else (*named, "function")


def _received(meta: Mapping[str, Any], order: Order) -> int:
    """Return how many base units of the token the recipient gained."""
    return _balance(meta.get("postTokenBalances"), order) - _balance(meta.get("preTokenBalances"), order)


def _balance(entries: Any, order: Order) -> int:
    """Return the recipient's balance, of all of its accounts."""
    total = 0
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"mint": mint, "owner": owner, "uiTokenAmount": {"amount": str(text)}}:
                ours = (mint, owner) == (order.token, order.recipient)
                if ours and text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
                    total += int(text)
    return total


def _reason(error: Any) -> str:
    """Return in our words which instruction failed."""
    match error:
        case {"InstructionError": [int(at), {"Custom": int(code)}]} if 0 <= at <= _MAX_INDEX and 0 <= code <= _MAX_CODE:
            return f"its instruction {at + 1} failed with error {code}"
        case {"InstructionError": [int(at), _]} if 0 <= at <= _MAX_INDEX:
            return f"its instruction {at + 1} failed"
    return "the cluster refused it"
