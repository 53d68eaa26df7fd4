"""One EVM with its state, and what an execution returned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from machines_mcp.sandbox.chain.abi import reason

GAS_LIMIT: Final = 30_000_000
_OUTPUT: Final = re.compile(r"output: 0x([0-9a-f]*)")
_GAS_USED: Final = re.compile(r"gas_used: ([0-9]+)")


@dataclass(frozen=True, slots=True)
class Log:
    """An event: topics as `0x` and 64 hex digits."""

    address: str
    topics: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A call. `gas` None means as much as a block has."""

    sender: str
    to: str
    data: bytes
    value: int = 0
    gas: int | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """A call's result, its gas and its events."""

    output: bytes
    gas_used: int
    logs: tuple[Log, ...]


class Failed(Exception):
    """An execution that reverted, or was not possible. `gas_used` is 0 if it did not begin."""

    def __init__(self, output: bytes, gas_used: int) -> None:
        self.output, self.gas_used, self.reason = output, gas_used, reason(output)
        super().__init__(self.reason)


class Evm:
    """The state of one chain. pyrevm charges no fees and counts no nonces: the node does."""

    def __init__(self, chain_id: int) -> None:
        self._evm = EVM(env=Env(cfg=CfgEnv(chain_id=chain_id)), gas_limit=GAS_LIMIT, spec_id="CANCUN")

    def place(self, address: str, code: bytes) -> None:
        """Put code at an address, as if deployed there."""
        self._evm.insert_account_info(address, AccountInfo(nonce=1, code=code))

    def set_time(self, number: int, timestamp: int) -> None:
        """Set the block in which the next calls run."""
        # Without a base fee, so that calls need no gas price.
        self._evm.set_block_env(BlockEnv(number=number, timestamp=timestamp, basefee=0, gas_limit=GAS_LIMIT))

    def run(self, message: Message) -> Execution:
        """Execute a call and keep its effect.

        Raises:
            Failed: It reverted, and had no effect.
        """
        point = self._evm.snapshot()
        try:
            done = self._execute(message)
        except Failed:
            self._evm.revert(point)
            raise
        # Closes the snapshot. Storage stays warm for the next call, which therefore costs less gas than elsewhere.
        self._evm.commit()
        return done

    def look(self, message: Message) -> Execution:
        """Execute a call and undo its effect.

        Raises:
            Failed: It reverted.
        """
        point = self._evm.snapshot()
        try:
            return self._execute(message)
        finally:
            self._evm.revert(point)

    def balance(self, address: str) -> int:
        """Return the coins of an account, in wei."""
        return self._evm.get_balance(address)

    def set_balance(self, address: str, wei: int) -> None:
        self._evm.set_balance(address, wei)

    def code(self, address: str) -> bytes:
        return self._evm.get_code(address) or b""

    def _execute(self, message: Message) -> Execution:
        try:
            output = self._evm.message_call(
                message.sender, message.to, calldata=message.data, value=message.value, gas=message.gas
            )
        except RuntimeError as failure:
            # The text is all that pyrevm gives.
            text = str(failure)
            found, gas = _OUTPUT.search(text), _GAS_USED.search(text)
            raise Failed(bytes.fromhex(found[1]) if found else b"", int(gas[1]) if gas else 0) from None
        result = self._evm.result
        if result is None:
            raise LookupError("an execution has a result")
        logs = tuple(Log(log.address, tuple(log.topics), bytes(log.data[1])) for log in result.logs)
        return Execution(bytes(output), result.gas_used, logs)
