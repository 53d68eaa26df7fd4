"""A Solana runtime with a mint and a withdrawal signed by a known executor, for tests."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from machines_mcp.chain import solana
from machines_mcp.chain.solana_accounts import COLLATERAL, COORDINATOR

TOKEN, TOKEN_2022 = solana.TOKEN_PROGRAMS
AMOUNT, EXPIRES_AT, NONCE, DECIMALS = 1_000_000, 1_800_000_000, 7, 6
SUPPLY = 500_000_000
OWNER, EXECUTOR = Keypair.from_seed(b"\x01" * 32), Keypair.from_seed(b"\x02" * 32)


def key(number: int) -> Pubkey:
    """Return a made-up address."""
    return Keypair.from_seed(bytes([number]) * 32).pubkey()


def signed(signer: Keypair = EXECUTOR, /, **changes: object) -> solana.SolanaWithdrawal:
    """Return a withdrawal that `signer` signed, with some fields changed before."""
    unsigned = solana.SolanaWithdrawal(
        program=key(10),
        coordinator=key(11),
        executor=EXECUTOR.pubkey(),
        collateral=key(12),
        owner=OWNER.pubkey(),
        recipient=key(13),
        mint=key(14),
        token_program=TOKEN,
        amount=AMOUNT,
        nonce=NONCE,
        expires_at=EXPIRES_AT,
        salt=b"\x05" * 32,
        signature=bytes(64),
    )
    changed = replace(unsigned, **changes)  # type: ignore[arg-type]
    return replace(changed, signature=bytes(signer.sign_message(solana.executor_message(changed))))


def collateral_data(withdrawal: solana.SolanaWithdrawal, name: bytes = b"CollateralSolana") -> bytes:
    """Return the data of the withdrawal's collateral account."""
    text = struct.pack("<I", len(name)) + name
    head = COLLATERAL + b"\x0a" * 32 + bytes(withdrawal.coordinator) + b"\xff"
    return head + text + struct.pack("<I", withdrawal.nonce) + bytes(withdrawal.owner)


def coordinator_data(executors: list[Pubkey], publishers: int = 2) -> bytes:
    """Return the data of a coordinator account."""
    head = COORDINATOR + b"\x0b" * 32 + b"\xfe" + b"\x0c" * 96
    published = struct.pack("<I", publishers) + b"\x0d" * 32 * publishers
    return head + published + struct.pack("<I", len(executors)) + b"".join(map(bytes, executors))


def mint_data(decimals: int = DECIMALS, extended: bool = False) -> bytes:
    """Return the data of a mint, `extended` as Token-2022 has it."""
    plain = struct.pack("<I32sQBBI32s", 1, bytes(key(15)), SUPPLY, decimals, 1, 0, bytes(32))
    return plain + bytes(83) + b"\x01" + bytes(8) if extended else plain


def token_account_data(mint: Pubkey, owner: Pubkey, amount: int) -> bytes:
    """Return the data of a token account."""
    return struct.pack(
        "<32s32sQI32sBIQQI32s", bytes(mint), bytes(owner), amount, 0, bytes(32), 1, 0, 0, 0, 0, bytes(32)
    )


T = TypeVar("T")
# LiteSVM leaves floating-point registers in use. On that thread, the next comparison of numbers in SQLite is wrong.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="solana-runtime")


def _apart(work: Callable[[], T]) -> T:
    return _THREAD.submit(work).result()


class Runtime:
    """A LiteSVM on a thread of its own."""

    def __init__(self) -> None:
        self._runtime = _apart(LiteSVM)

    def give(self, owner: Pubkey, lamports: int) -> None:
        _apart(lambda: self._runtime.airdrop(owner, lamports))

    def put(self, address: Pubkey, data: bytes, program: Pubkey) -> None:
        """Make an account that pays no rent."""

        def made() -> None:
            lamports = self._runtime.minimum_balance_for_rent_exemption(len(data))
            self._runtime.set_account(address, Account(lamports, data, program))

        _apart(made)

    def account(self, address: Pubkey) -> Account | None:
        return _apart(lambda: self._runtime.get_account(address))

    def blockhash(self) -> Hash:
        return _apart(self._runtime.latest_blockhash)

    def send(self, transaction: Transaction) -> TransactionMetadata | FailedTransactionMetadata:
        return _apart(lambda: self._runtime.send_transaction(transaction))


@dataclass(frozen=True, slots=True)
class SolanaWorld:
    """A runtime in which the owner holds tokens in place of the collateral, whose program is not public."""

    withdrawal: solana.SolanaWithdrawal = field(default_factory=signed)
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        w = self.withdrawal
        self.runtime.give(w.owner, 10**9)
        self.runtime.put(w.mint, mint_data(), TOKEN)
        self.runtime.put(self.holding(w.owner), token_account_data(w.mint, w.owner, SUPPLY), TOKEN)

    def holding(self, owner: Pubkey) -> Pubkey:
        """Return the owner's token account."""
        return solana.associated_account(owner, self.withdrawal.mint, TOKEN)

    def balance(self, owner: Pubkey) -> int:
        """Return how many base units an owner holds."""
        found = self.runtime.account(self.holding(owner))
        return 0 if found is None else int.from_bytes(found.data[64:72], "little")
