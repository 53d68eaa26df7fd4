"""Build a withdrawal on Solana: the executor's message, the instructions and the unsigned transaction.

Everything here is pure. Importing it loads `solders`, so a server imports it when it makes a plan.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

from eth_hash.auto import keccak
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import Transaction

MAX_TRANSACTION_BYTES = 1_232
"""The most that a cluster takes: an IPv6 packet of 1,280 bytes without its headers."""
DOMAIN_CHAIN_ID = 900
"""The chain id in the signed domain. The issuer's programs use it on every cluster."""
WITHDRAW = hashlib.sha256(b"global:withdraw_single_signer_collateral_asset").digest()[:8]

SYSTEM_PROGRAM = Pubkey.from_string("11111111111111111111111111111111")
TOKEN_PROGRAMS = (
    Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"),
    Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"),
)
"""The programs that own mints: the first one, and Token-2022."""
_ASSOCIATED_TOKEN = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
_ED25519 = Pubkey.from_string("Ed25519SigVerify111111111111111111111111111")
_INSTRUCTIONS_SYSVAR = Pubkey.from_string("Sysvar1nstructions1111111111111111111111111")

_DOMAIN_TYPE = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
)
_WITHDRAW_TYPE = keccak(
    b"Withdraw(address user,address collateral,address asset,uint256 amount,address recipient,uint256 nonce,"
    b"uint256 expiresAt)"
)
_CREATE_IDEMPOTENT = b"\x01"
_DATA = struct.Struct("<8sQq32s")
_SAME_INSTRUCTION = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class SolanaWithdrawal:
    """A withdrawal with every account that its transaction names. `amount` is in base units of the mint."""

    program: Pubkey
    coordinator: Pubkey
    executor: Pubkey
    collateral: Pubkey
    owner: Pubkey
    recipient: Pubkey
    mint: Pubkey
    token_program: Pubkey
    amount: int
    nonce: int
    expires_at: int
    salt: bytes
    signature: bytes

    @property
    def destination(self) -> Pubkey:
        """The recipient's token account."""
        return associated_account(self.recipient, self.mint, self.token_program)

    @property
    def authority(self) -> Pubkey:
        """The account that owns the collateral's token account. The API calls it the deposit address."""
        return Pubkey.find_program_address([b"CollateralAuthority", bytes(self.collateral)], self.program)[0]

    @property
    def source(self) -> Pubkey:
        """The collateral's token account."""
        return associated_account(self.authority, self.mint, self.token_program)


def associated_account(owner: Pubkey, mint: Pubkey, token_program: Pubkey) -> Pubkey:
    """Return the address of the owner's token account for a mint."""
    seeds = [bytes(owner), bytes(token_program), bytes(mint)]
    return Pubkey.find_program_address(seeds, _ASSOCIATED_TOKEN)[0]


def executor_message(withdrawal: SolanaWithdrawal, nonce: int | None = None) -> bytes:
    """Return the 32 bytes that the coordinator's executor signs, for another `nonce` if one is given.

    It is EIP-712 with addresses of 32 bytes, and with numbers of their own width instead of 32 bytes.
    """
    counted = withdrawal.nonce if nonce is None else nonce
    domain = keccak(
        _DOMAIN_TYPE
        + keccak(b"Coordinator")
        + keccak(b"2")
        + struct.pack(">Q", DOMAIN_CHAIN_ID)
        + bytes(withdrawal.coordinator)
        + withdrawal.salt
    )
    struct_hash = keccak(
        _WITHDRAW_TYPE
        + bytes(withdrawal.owner)
        + bytes(withdrawal.collateral)
        + bytes(withdrawal.mint)
        + struct.pack(">Q", withdrawal.amount)
        + bytes(withdrawal.recipient)
        + struct.pack(">Iq", counted, withdrawal.expires_at)
    )
    return keccak(b"\x19\x01" + domain + struct_hash)


def is_signed(withdrawal: SolanaWithdrawal, nonce: int | None = None) -> bool:
    """Return whether the executor signed this withdrawal, for another `nonce` if one is given."""
    return Signature.from_bytes(withdrawal.signature).verify(withdrawal.executor, executor_message(withdrawal, nonce))


def instructions(withdrawal: SolanaWithdrawal, *, create_account: bool) -> list[Instruction]:
    """Return the instructions in order. The program looks for the signature directly before its own instruction."""
    created = [_create_account(withdrawal)] if create_account else []
    return [*created, _verify_signature(withdrawal), _withdraw(withdrawal)]


def unsigned_transaction(withdrawal: SolanaWithdrawal, blockhash: str, *, create_account: bool) -> str:
    """Return the transaction in base64, with zeroed signatures. The owner signs it and pays its fee."""
    steps = instructions(withdrawal, create_account=create_account)
    message = Message.new_with_blockhash(steps, withdrawal.owner, Hash.from_string(blockhash))
    return base64.b64encode(bytes(Transaction.new_unsigned(message))).decode("ascii")


def withdraw_data(amount: int, expires_at: int, salt: bytes) -> bytes:
    """Return the data of the withdraw instruction."""
    return _DATA.pack(WITHDRAW, amount, expires_at, salt)


def _create_account(withdrawal: SolanaWithdrawal) -> Instruction:
    """Create the recipient's token account. It does nothing if the account exists by then."""
    accounts = [
        AccountMeta(withdrawal.owner, is_signer=True, is_writable=True),
        _writable(withdrawal.destination),
        _readable(withdrawal.recipient),
        _readable(withdrawal.mint),
        _readable(SYSTEM_PROGRAM),
        _readable(withdrawal.token_program),
    ]
    return Instruction(_ASSOCIATED_TOKEN, _CREATE_IDEMPOTENT, accounts)


def _verify_signature(withdrawal: SolanaWithdrawal) -> Instruction:
    message = executor_message(withdrawal)
    key_at, signature_at, message_at = 16, 48, 112
    same = _SAME_INSTRUCTION
    head = struct.pack("<BB7H", 1, 0, signature_at, same, key_at, same, message_at, len(message), same)
    return Instruction(_ED25519, head + bytes(withdrawal.executor) + withdrawal.signature + message, [])


def _withdraw(withdrawal: SolanaWithdrawal) -> Instruction:
    accounts = [
        AccountMeta(withdrawal.owner, is_signer=True, is_writable=True),
        _readable(withdrawal.coordinator),
        _writable(withdrawal.collateral),
        _writable(withdrawal.authority),
        _writable(withdrawal.recipient),
        _readable(withdrawal.mint),
        _writable(withdrawal.source),
        _writable(withdrawal.destination),
        _readable(withdrawal.token_program),
        _readable(_INSTRUCTIONS_SYSVAR),
        _readable(SYSTEM_PROGRAM),
    ]
    data = withdraw_data(withdrawal.amount, withdrawal.expires_at, withdrawal.salt)
    return Instruction(withdrawal.program, data, accounts)


def _readable(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=False)


def _writable(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=True)
