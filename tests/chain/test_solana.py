"""Test the executor's message, the instructions and the transaction of a withdrawal on Solana."""

from __future__ import annotations

import base64
import sqlite3
import struct
from contextlib import closing
from dataclasses import replace

import pytest
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from machines_mcp.chain import solana
from machines_mcp.chain.solana_accounts import (
    COLLATERAL,
    COORDINATOR,
    MAX_ACCOUNT_BYTES,
    MULTISIG_COLLATERAL,
    Collateral,
    MultisigCollateral,
    UnreadableAccount,
    read_collateral,
    read_decimals,
    read_executor,
)
from tests.support.solana_world import (
    AMOUNT,
    EXECUTOR,
    EXPIRES_AT,
    NONCE,
    OWNER,
    SUPPLY,
    TOKEN,
    TOKEN_2022,
    SolanaWorld,
    collateral_data,
    coordinator_data,
    key,
    mint_data,
    signed,
    token_account_data,
)


def test_the_message_is_the_one_that_the_issuers_executor_signed() -> None:
    """The issuer's own SDK pins this vector. It was captured on devnet."""
    text = Pubkey.from_string
    user = text("3mhBCgFYhFCAV7LFARCcLuLsQLsyErTRc2axkGJrf8UG")
    withdrawal = signed(
        coordinator=text("FF3tTZ91aRu7XdGc4XK6V7MkDyStJ5ZY2fG4ZKLqFgL5"),
        collateral=text("2h5mCXyirbPJZbjGcWf4PTpcA6M7qZ5UCRaWysHjnx31"),
        owner=user,
        recipient=user,
        mint=text("4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"),
        amount=1,
        nonce=0,
        expires_at=1_784_912_091,
        salt=base64.b64decode("TQQ0CmdE6fdJzi6aFl6X68AKTETgYWKmPuoKvWpBb5w="),
    )
    expected = "77229dff3a1aca1bf472323ba0cdf247669970593ab8f64b31d7e1e74d28e8f4"
    assert solana.executor_message(withdrawal).hex() == expected


def test_the_discriminators_are_those_of_the_public_interface() -> None:
    found = [one.hex() for one in (solana.WITHDRAW, COLLATERAL, MULTISIG_COLLATERAL, COORDINATOR)]
    assert found == ["0d1940536fb846f1", "132d631dc432e475", "a556439dc778276f", "ea853d8cad030abc"]


def test_an_associated_account_is_the_one_that_the_cluster_derives() -> None:
    world = SolanaWorld()
    steps = solana.instructions(world.withdrawal, create_account=True)[:1]
    assert isinstance(send(world, steps), TransactionMetadata)
    made = world.runtime.account(world.withdrawal.destination)
    assert made is not None and bytes(made.data[32:64]) == bytes(world.withdrawal.recipient)


def test_every_field_of_the_message_is_signed() -> None:
    withdrawal = signed()
    assert solana.is_signed(withdrawal)
    changes = {"coordinator": key(90), "collateral": key(91), "owner": key(92), "recipient": key(93), "mint": key(94)}
    numbers = {"amount": AMOUNT + 1, "nonce": NONCE + 1, "expires_at": EXPIRES_AT + 1, "salt": b"\x06" * 32}
    for name, value in {**changes, **numbers, "executor": key(95)}.items():
        assert not solana.is_signed(replace(withdrawal, **{name: value})), name  # type: ignore[arg-type]


def test_the_program_and_the_token_program_are_no_part_of_the_message() -> None:
    withdrawal = signed()
    assert solana.is_signed(replace(withdrawal, program=key(90), token_program=TOKEN_2022))


def test_the_signature_of_an_earlier_nonce_is_told_from_none() -> None:
    withdrawal = replace(signed(nonce=NONCE), nonce=NONCE + 2)
    assert not solana.is_signed(withdrawal) and solana.is_signed(withdrawal, NONCE)


def test_the_instructions_stand_in_order_with_the_accounts_of_the_interface() -> None:
    withdrawal = signed()
    create, verify, withdraw = solana.instructions(withdrawal, create_account=True)
    assert bytes(create.data) == b"\x01"
    assert str(create.program_id) == "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
    assert str(verify.program_id) == "Ed25519SigVerify111111111111111111111111111" and verify.accounts == []
    assert withdraw.program_id == withdrawal.program
    assert bytes(withdraw.data) == solana.WITHDRAW + struct.pack("<Qq", AMOUNT, EXPIRES_AT) + b"\x05" * 32
    authority, _ = Pubkey.find_program_address(
        [b"CollateralAuthority", bytes(withdrawal.collateral)], withdrawal.program
    )
    assert [(str(one.pubkey), one.is_signer, one.is_writable) for one in withdraw.accounts] == [
        (str(OWNER.pubkey()), True, True),
        (str(withdrawal.coordinator), False, False),
        (str(withdrawal.collateral), False, True),
        (str(authority), False, True),
        (str(withdrawal.recipient), False, True),
        (str(withdrawal.mint), False, False),
        (str(solana.associated_account(authority, withdrawal.mint, TOKEN)), False, True),
        (str(solana.associated_account(withdrawal.recipient, withdrawal.mint, TOKEN)), False, True),
        (str(TOKEN), False, False),
        ("Sysvar1nstructions1111111111111111111111111", False, False),
        ("11111111111111111111111111111111", False, False),
    ]


def test_an_account_that_exists_is_not_created() -> None:
    verify, withdraw = solana.instructions(signed(), create_account=False)
    assert withdraw.program_id == key(10) and len(verify.data) == 16 + 32 + 64 + 32


@pytest.mark.parametrize("token_program", [TOKEN, TOKEN_2022], ids=["token", "token-2022"])
def test_the_transaction_is_unsigned_and_fits_into_a_packet(token_program: Pubkey) -> None:
    withdrawal = signed(token_program=token_program)
    text = solana.unsigned_transaction(withdrawal, str(SolanaWorld().runtime.blockhash()), create_account=True)
    raw = base64.b64decode(text, validate=True)
    transaction = Transaction.from_bytes(raw)
    assert [bytes(one) for one in transaction.signatures] == [bytes(64)]
    assert transaction.message.account_keys[0] == OWNER.pubkey()
    assert len(transaction.message.instructions) == 3
    assert len(raw) <= solana.MAX_TRANSACTION_BYTES


def test_a_runtime_verifies_the_executor_creates_the_account_and_moves_the_token() -> None:
    world = SolanaWorld()
    assert isinstance(sent_with_transfer(world), TransactionMetadata)
    assert world.balance(world.withdrawal.recipient) == AMOUNT
    assert world.balance(world.withdrawal.owner) == SUPPLY - AMOUNT


@pytest.mark.parametrize("byte", range(112, 144))
def test_one_flipped_bit_of_the_message_fails_the_whole_transaction(byte: int) -> None:
    world = SolanaWorld()
    assert isinstance(sent_with_transfer(world, flipped=byte), FailedTransactionMetadata)
    assert world.balance(world.withdrawal.recipient) == 0
    assert world.balance(world.withdrawal.owner) == SUPPLY
    assert world.runtime.account(world.withdrawal.destination) is None


def sent_with_transfer(
    world: SolanaWorld, flipped: int | None = None
) -> TransactionMetadata | FailedTransactionMetadata:
    """Send the transaction of the tool with a transfer in place of the withdrawal, whose program is not public."""
    withdrawal = world.withdrawal
    text = solana.unsigned_transaction(withdrawal, str(world.runtime.blockhash()), create_account=True)
    made = Transaction.from_bytes(base64.b64decode(text)).message
    keys = made.account_keys
    create, verify, _ = (
        Instruction(
            keys[one.program_id_index],
            bytes(one.data),
            [AccountMeta(keys[at], made.is_signer(at), _is_writable(made, at)) for at in one.accounts],
        )
        for one in made.instructions
    )
    if flipped is not None:
        data = bytearray(verify.data)
        data[flipped] ^= 1
        verify = Instruction(verify.program_id, bytes(data), [])
    transfer = Instruction(
        TOKEN,
        b"\x03" + struct.pack("<Q", withdrawal.amount),
        [
            AccountMeta(world.holding(withdrawal.owner), False, True),
            AccountMeta(withdrawal.destination, False, True),
            AccountMeta(withdrawal.owner, True, False),
        ],
    )
    return send(world, [create, verify, transfer])


def _is_writable(message: Message, at: int) -> bool:
    header, keys = message.header, len(message.account_keys)
    signers = header.num_required_signatures
    if at < signers:
        return at < signers - header.num_readonly_signed_accounts
    return at < keys - header.num_readonly_unsigned_accounts


def send(world: SolanaWorld, steps: list[Instruction]) -> TransactionMetadata | FailedTransactionMetadata:
    message = Message.new_with_blockhash(steps, OWNER.pubkey(), world.runtime.blockhash())
    transaction = Transaction.new_unsigned(message)
    transaction.sign([OWNER], message.recent_blockhash)
    return world.runtime.send(transaction)


@pytest.mark.parametrize("name", [b"", b"CollateralSolana", b"\xff" * 200], ids=["empty", "usual", "long"])
def test_a_collateral_account_reads_back(name: bytes) -> None:
    withdrawal = signed()
    data = collateral_data(withdrawal, name) + bytes(64)  # accounts have spare room
    assert read_collateral(data) == Collateral(str(withdrawal.coordinator), NONCE, str(OWNER.pubkey()))


@pytest.mark.parametrize("publishers", [0, 1, 9])
def test_the_executor_is_the_first_one_of_the_coordinator(publishers: int) -> None:
    data = coordinator_data([EXECUTOR.pubkey(), key(60)], publishers)
    assert read_executor(data) == str(EXECUTOR.pubkey())


def test_a_mint_reads_back_in_both_token_programs() -> None:
    assert [read_decimals(mint_data(6)), read_decimals(mint_data(9, extended=True))] == [6, 9]


def test_a_multisig_is_told_from_another_account() -> None:
    with pytest.raises(MultisigCollateral):
        read_collateral(MULTISIG_COLLATERAL + bytes(300))


def test_account_data_that_is_cut_short_is_refused_at_every_length() -> None:
    withdrawal = signed()
    for read, whole in (
        (read_collateral, collateral_data(withdrawal)),
        (read_executor, coordinator_data([EXECUTOR.pubkey()])),
        (read_decimals, mint_data()),
    ):
        for length in range(len(whole)):
            with pytest.raises(UnreadableAccount):
                read(whole[:length])


def test_account_data_of_another_kind_is_refused() -> None:
    collateral, coordinator = collateral_data(signed()), coordinator_data([EXECUTOR.pubkey()])
    holding = token_account_data(key(14), OWNER.pubkey(), 5)
    for read, data in (
        (read_collateral, coordinator),
        (read_collateral, b"\x00" + collateral[1:]),
        (read_executor, collateral),
        (read_executor, coordinator_data([])),
        (read_decimals, holding),
        (read_decimals, holding + b"\x02" + bytes(8)),  # a token account with extensions
        (read_decimals, bytes(82)),
    ):
        with pytest.raises(UnreadableAccount):
            read(data)


def test_huge_accounts_and_counts_are_refused() -> None:
    collateral = bytearray(collateral_data(signed()))
    collateral[73:77] = b"\xff" * 4  # the length of the name
    coordinator = bytearray(coordinator_data([EXECUTOR.pubkey()]))
    coordinator[137:141] = b"\xff" * 4  # how many publishers
    room = bytes(MAX_ACCOUNT_BYTES)
    for read, data in (
        (read_collateral, bytes(collateral)),
        (read_executor, bytes(coordinator)),
        (read_collateral, collateral_data(signed()) + room),
        (read_executor, coordinator_data([EXECUTOR.pubkey()]) + room),
        (read_decimals, mint_data(extended=True) + room),
    ):
        with pytest.raises(UnreadableAccount):
            read(data)


def test_numbers_compare_rightly_after_a_plan() -> None:
    """Native code that leaves floating-point registers in use would spoil the next comparison in SQLite."""
    withdrawal = signed()
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE amounts (cents REAL)")
        db.execute("INSERT INTO amounts VALUES (1.5)")

        solana.unsigned_transaction(withdrawal, str(Hash.default()), create_account=True)

        assert db.execute("SELECT cents FROM amounts WHERE cents <= ?", (2.25,)).fetchall() == [(1.5,)]
