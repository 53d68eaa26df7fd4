"""The checks of a withdrawal on Solana, and the transaction that passes them.

Importing this loads `solders`, so a server imports it when it makes a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from solders.hash import ParseHashError
from solders.pubkey import Pubkey

from machines_mcp.chain.checks import Checks, PlanRequest, check_token
from machines_mcp.chain.faults import CheckFailed, RpcUnavailable, Stale, Unsupported
from machines_mcp.chain.order import Order
from machines_mcp.chain.solana import (
    MAX_TRANSACTION_BYTES,
    TOKEN_PROGRAMS,
    SolanaWithdrawal,
    is_signed,
    unsigned_transaction,
)
from machines_mcp.chain.solana_accounts import (
    Collateral,
    MultisigCollateral,
    UnreadableAccount,
    read_collateral,
    read_decimals,
    read_executor,
)
from machines_mcp.chain.solana_receipts import decoded, differences
from machines_mcp.chain.solana_rpc import Blockhash, SolanaAccount

_EARLIER_NONCES: Final = 16
"""How many earlier nonces are tried, to tell a signature that was used or replaced from a wrong one."""
_TOKEN_OWNERS: Final = tuple(map(str, TOKEN_PROGRAMS))
_PROGRAM: Final = "the program that owns the collateral account"

T = TypeVar("T")


class SolanaChecks:
    """Makes the checks of one plan, in the order in which its accounts are read."""

    def __init__(self, checks: Checks, request: PlanRequest, order: Order) -> None:
        self._checks = checks
        self._request = request
        self._order = order

    def collateral(self, account: SolanaAccount | None) -> Collateral:
        """Return the collateral, which has one owner, and which the program to call owns.

        Raises:
            CheckFailed: It is another account.
            Unsupported: It has several admins.
        """
        data = self._owned(account, (self._order.target,), "target", _PROGRAM)
        try:
            found = _read(read_collateral, data, "target", "a collateral account with a single owner")
        except MultisigCollateral:
            raise Unsupported(self._order.path, "the collateral needs the signatures of several admins") from None
        self._checks.require("path", True, "a known call path")
        return found

    def withdrawal(
        self,
        collateral: Collateral,
        coordinator: SolanaAccount | None,
        mint: SolanaAccount | None,
        recipient: SolanaAccount | None,
    ) -> SolanaWithdrawal:
        """Return the withdrawal with every account of its transaction. The executor has signed it.

        Raises:
            CheckFailed: A check failed.
            Stale: The executor signed it for an earlier nonce.
        """
        checks, order = self._checks, self._order
        data = self._owned(coordinator, (order.target,), "target", _PROGRAM)
        executor = _read(read_executor, data, "target", "a coordinator with an executor")
        self._check_coordinator(collateral.coordinator)
        self._check_owner(collateral.owner)
        data = self._owned(mint, _TOKEN_OWNERS, "token", "a token of one of the two token programs")
        check_token(checks, self._request, order, _read(read_decimals, data, "token", "a token, not an account of one"))
        # Nobody could sign for tokens in the token account of a token account.
        wallet = recipient is None or recipient.owner not in _TOKEN_OWNERS
        checks.require("recipient", wallet, "the address of a wallet, not of a token account")
        found = SolanaWithdrawal(
            program=Pubkey.from_string(order.target),
            coordinator=Pubkey.from_string(collateral.coordinator),
            executor=Pubkey.from_string(executor),
            collateral=Pubkey.from_string(order.collateral),
            owner=Pubkey.from_string(collateral.owner),
            recipient=Pubkey.from_string(order.recipient),
            mint=Pubkey.from_string(order.token),
            token_program=Pubkey.from_string(mint.owner if mint else ""),
            amount=order.amount,
            nonce=collateral.nonce,
            expires_at=order.expires_at,
            salt=order.salt,
            signature=order.signature,
        )
        self._check_signature(found)
        return found

    def transaction(self, withdrawal: SolanaWithdrawal, blockhash: Blockhash, *, create_account: bool) -> str:
        """Return the unsigned transaction in base64, which says the order and fits into a packet.

        Raises:
            CheckFailed: It does not.
            RpcUnavailable: The blockhash is none.
        """
        try:
            text = unsigned_transaction(withdrawal, blockhash.hash, create_account=create_account)
        except ParseHashError:
            raise RpcUnavailable("its answer is not JSON-RPC") from None
        again = decoded(text)
        keys = list(map(str, again.message.account_keys))
        differs = differences(self._order, str(withdrawal.owner), again, keys)
        fits = len(bytes(again)) <= MAX_TRANSACTION_BYTES
        self._checks.require("calldata", not differs and fits, "a transaction that says the order and fits a packet")
        return text

    def _check_coordinator(self, address: str) -> None:
        execution = self._request.answer.get("execution") or {}
        # Some answers name the program there.
        named = execution.get("coordinator_address") in (None, self._order.target, address)
        self._checks.require("target", named, "the coordinator of the collateral")

    def _check_owner(self, address: str) -> None:
        admin = self._request.approved.admin_address
        self._checks.require("admin", admin in (None, address), "the owner of the collateral", "admin_address")

    def _check_signature(self, withdrawal: SolanaWithdrawal) -> None:
        if not is_signed(withdrawal):
            earlier = range(max(0, withdrawal.nonce - _EARLIER_NONCES), withdrawal.nonce)
            if any(is_signed(withdrawal, nonce) for nonce in earlier):
                raise Stale
            raise CheckFailed("signature", "the signature of the coordinator's executor over this withdrawal")
        self._checks.require("signature", True, "the signature of the coordinator's executor")
        self._checks.require("nonce", True, "the nonce on chain to be the signed one")

    def _owned(self, account: SolanaAccount | None, owners: tuple[str, ...], check: str, expected: str) -> bytes:
        """Return the data of an account that one of these programs owns."""
        if account is None or account.owner not in owners:
            raise CheckFailed(check, expected)
        return account.data


def _read(read: Callable[[bytes], T], data: bytes, check: str, expected: str) -> T:
    try:
        return read(data)
    except MultisigCollateral:
        raise
    except UnreadableAccount:
        raise CheckFailed(check, expected) from None
