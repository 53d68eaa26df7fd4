"""A node: blocks of one transaction each, nonces, fees and receipts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from machines_mcp.sandbox.chain.evm import GAS_LIMIT, Evm, Execution, Failed, Log, Message
from machines_mcp.sandbox.chain.key import GAS_PRICE
from machines_mcp.sandbox.chain.transaction import NotATransaction, Transaction, read_transaction

# It deploys the contracts and owns them. Nobody has its key, and only the simulator calls in its name.
ISSUER: Final = f"0x{keccak(b'issuer of the simulator')[-20:].hex()}"
_ETHER: Final = 10**18


@dataclass(frozen=True, slots=True)
class Block:
    """A block. `mined` is its transaction; the first block has none."""

    number: int
    hash: str
    parent: str
    timestamp: int
    mined: Mined | None


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction with what it did. If it reverted, it has no logs."""

    transaction: Transaction
    succeeded: bool
    gas_used: int
    logs: tuple[Log, ...]


class Node:
    """One chain. It mines each transaction at once, at the time of the simulator's clock."""

    def __init__(self, chain_id: int, clock: Callable[[], float]) -> None:
        self.chain_id = chain_id
        self._clock = clock
        self._evm = Evm(chain_id)
        self._nonces: Counter[str] = Counter()
        genesis = f"0x{keccak(b'genesis').hex()}"
        self._blocks = [Block(0, genesis, f"0x{'00' * 32}", int(clock()), None)]
        self._by_transaction: dict[str, Block] = {}

    @property
    def latest(self) -> Block:
        return self._blocks[-1]

    def block(self, number: int) -> Block | None:
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def block_of_hash(self, block_hash: str) -> Block | None:
        return next((block for block in reversed(self._blocks) if block.hash == block_hash), None)

    def block_of_transaction(self, transaction_hash: str) -> Block | None:
        return self._by_transaction.get(transaction_hash)

    def nonce(self, address: str) -> int:
        """Return how many transactions the account has sent."""
        return self._nonces[address.lower()]

    def resume(self, address: str, nonce: int) -> None:
        """Count on from the transactions that an account had sent before the chain was rebuilt."""
        self._nonces[address.lower()] = nonce

    def balance(self, address: str) -> int:
        return self._evm.balance(address)

    def code(self, address: str) -> bytes:
        return self._evm.code(address)

    def fund(self, address: str) -> None:
        """Give an account one coin for fees, unless it has as much."""
        if self._evm.balance(address) < _ETHER:
            self._evm.set_balance(address, _ETHER)

    def place(self, address: str, code: bytes) -> None:
        """Put a contract at an address."""
        self._evm.place(address, code)

    def issue(self, to: str, data: bytes) -> None:
        """Call a contract in the issuer's name, outside of any block.

        Raises:
            Failed: It reverted.
        """
        self._set_time()
        self._evm.run(Message(ISSUER, to, data))

    def look(self, message: Message) -> Execution:
        """Execute a call now without effect.

        Raises:
            Failed: It reverted.
        """
        self._set_time()
        return self._evm.look(message)

    def send(self, raw: bytes) -> Mined:
        """Mine a signed transaction.

        Raises:
            NotATransaction: It is not valid on this chain now, and had no effect.
        """
        transaction = read_transaction(raw)
        self._check(transaction)
        timestamp = self._set_time()
        succeeded, gas_used, logs = self._execute(transaction)
        self._nonces[transaction.sender.lower()] += 1
        left = self._evm.balance(transaction.sender) - gas_used * GAS_PRICE
        self._evm.set_balance(transaction.sender, max(0, left))
        mined = Mined(transaction, succeeded, gas_used, logs)
        self._append(mined, timestamp)
        return mined

    def _check(self, transaction: Transaction) -> None:
        expected = self.nonce(transaction.sender)
        # Without a chain id, a transaction could be replayed on another chain.
        if transaction.chain_id != self.chain_id:
            raise NotATransaction("invalid chain id for signer")
        if transaction.nonce != expected:
            raise NotATransaction(f"nonce too {'low' if transaction.nonce < expected else 'high'}")
        if transaction.price < GAS_PRICE:
            raise NotATransaction("max fee per gas less than block base fee")
        if transaction.gas > GAS_LIMIT:
            raise NotATransaction("exceeds block gas limit")
        if self._evm.balance(transaction.sender) < transaction.gas * GAS_PRICE + transaction.value:
            raise NotATransaction("insufficient funds for gas * price + value")

    def _execute(self, transaction: Transaction) -> tuple[bool, int, tuple[Log, ...]]:
        message = Message(transaction.sender, transaction.to, transaction.data, transaction.value, transaction.gas)
        try:
            done = self._evm.run(message)
        except Failed as failure:
            if not failure.gas_used:
                raise NotATransaction("intrinsic gas too low") from None
            return False, failure.gas_used, ()
        return True, done.gas_used, done.logs

    def _set_time(self) -> int:
        """Set the time of the next block, and return it."""
        # The computer's clock may be set back, but a chain's time is not.
        timestamp = max(self.latest.timestamp, int(self._clock()))
        self._evm.set_time(self.latest.number + 1, timestamp)
        return timestamp

    def _append(self, mined: Mined, timestamp: int) -> None:
        parent = self.latest
        block_hash = f"0x{keccak(f'{parent.hash} {mined.transaction.hash}'.encode()).hex()}"
        block = Block(parent.number + 1, block_hash, parent.hash, timestamp, mined)
        self._blocks.append(block)
        self._by_transaction[mined.transaction.hash] = block
