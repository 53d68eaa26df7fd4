from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from eth_keys.constants import SECPK1_N as N
from eth_keys.datatypes import PrivateKey

from machines_mcp.chain import evm
from machines_mcp.chain.checks import NAMES
from machines_mcp.chain.faults import CheckFailed, NotSigned, Stale, Unsupported, WrongSignature
from machines_mcp.chain.plan import Plan
from tests.chain.answers import CHAIN, TARGET, answer
from tests.chain.requests import (
    KNOWN,
    NONCE,
    RELAYED,
    SALT,
    SENDER,
    STRANGER,
    FakeChain,
    plan,
    relay,
    request,
    salt_for,
    signed,
)

pytestmark = pytest.mark.anyio

PATHS = ["controller_v1", "coordinator_v2"]
OF_SEND = ("calldata", "signature", "simulated")


async def to_send(given: dict[str, Any], rpc: FakeChain | None) -> Plan:
    """Return the last plan of a withdrawal, after the admin has signed if the path needs it."""
    first = await plan(request(**given), rpc)
    if first.typed_data is None:
        return first
    more = {"signature": signed(first.typed_data), "signed_nonce": first.nonce}
    return await plan(request(**given | more), rpc)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("production", [False, True])
async def test_with_a_node_every_check_is_verified(path: str, production: bool) -> None:
    done = await to_send({"path": path, "production": production}, FakeChain())
    assert done.not_verified == ()
    assert set(done.verified) == set(NAMES) - ({"signature"} if path == "controller_v1" else set())
    assert done.transaction is not None
    assert {name: value for name, value in done.transaction.items() if name != "data"} == {
        "from": SENDER,
        "to": TARGET,
        "value": "0x0",
        "chainId": "0x14a34",
    }
    salts, signatures = ((done.salt,), (done.signature,)) if done.salt and done.signature else ((), ())
    found = evm.decoded(bytes.fromhex(done.transaction["data"][2:]))
    assert evm.differences(found, done.order, salts, signatures) == []


async def test_the_admin_signs_first_and_the_salt_stays() -> None:
    first = await plan(request(), FakeChain())
    assert (first.stage, first.transaction, first.nonce, first.salt) == ("sign", None, NONCE, SALT)
    assert first.typed_data == evm.typed_data(first.order, SENDER, NONCE, SALT)
    assert set(first.verified) == set(NAMES) - set(OF_SEND)
    again = await plan(request(signed_nonce=NONCE), FakeChain())
    assert again.typed_data == first.typed_data


async def test_the_controller_needs_no_signature() -> None:
    done = await plan(request("controller_v1"), FakeChain())
    assert (done.stage, done.typed_data, done.salt, done.signature) == ("send", None, None, None)


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_node_a_plan_says_what_was_not_verified(path: str) -> None:
    done = await to_send({"path": path, "given_nonce": NONCE}, None)
    assert done.not_verified == ("admin", "nonce", "simulated")
    strict = await to_send({"path": path, "given_nonce": NONCE, "production": True}, None)
    assert strict.not_verified == done.not_verified


@pytest.mark.parametrize("path", PATHS)
async def test_without_node_and_policy_a_plan_needs_to_be_outside_production(path: str) -> None:
    done = await to_send({"path": path, "given_nonce": NONCE, "known": None}, None)
    assert done.not_verified == ("target", "chain", "token", "amount", "admin", "nonce", "simulated")
    for rpc in (None, FakeChain()):
        with pytest.raises(CheckFailed) as refused:
            await plan(request(path, given_nonce=NONCE, known=None, production=True), rpc)
        assert (refused.value.check, refused.value.setting) == ("chain", f"chain.{CHAIN}")


async def test_without_a_node_the_caller_gives_the_nonce() -> None:
    with pytest.raises(CheckFailed) as refused:
        await plan(request())
    assert (refused.value.check, refused.value.setting) == ("nonce", f"MACHINES_RPC_URL_{CHAIN}")
    first = await plan(request(given_nonce=3))
    assert first.typed_data is not None
    assert first.typed_data["message"]["nonce"] == "3"
    done = await plan(request(signed_nonce=3, signature=signed(first.typed_data)))
    assert (done.stage, done.nonce) == ("send", 3)


@pytest.mark.parametrize("path", PATHS)
async def test_a_moved_nonce_is_stale(path: str) -> None:
    rpc = FakeChain(**{"adminNonce()": NONCE + 1, "nonce(address)": NONCE + 1})
    with pytest.raises(Stale):
        await plan(request(path, signed_nonce=NONCE), rpc)
    assert (await plan(request(path, signed_nonce=NONCE + 1), rpc)).nonce == NONCE + 1


async def test_a_contract_that_says_no_nonce_gives_no_plan() -> None:
    with pytest.raises(CheckFailed) as refused:
        await plan(request(), FakeChain(**{"adminNonce()": None}))
    assert refused.value.check == "nonce"


@pytest.mark.parametrize("threshold", [2, 9])
async def test_several_admins_are_unsupported_by_name(threshold: int) -> None:
    with pytest.raises(Unsupported) as refused:
        await plan(request(), FakeChain(**{"adminThreshold()": threshold}))
    assert refused.value.reason == "the collateral needs the signatures of several admins"


async def test_a_plan_on_solana_is_made_elsewhere() -> None:
    program = "HaJ8CaGUJ1w8CjqM2cvaMtTNXSZFhwtmKHeRkYBvEGjj"
    parameters = [program, program, "5", program, 1_735_689_600, list(SALT), list(bytes(64))]
    given = answer("solana_v2_02", parameters=parameters, call_target=program, chain_id=900)
    with pytest.raises(Unsupported) as refused:
        await plan(request(answer=given), FakeChain())
    assert (refused.value.path, refused.value.reason) == ("solana_v2_02", "it is not on an EVM chain")


async def test_an_unsigned_answer_has_no_plan() -> None:
    with pytest.raises(NotSigned):
        await plan(request(status="pending"), FakeChain())


async def test_a_relay_pays_the_approved_terms() -> None:
    done = await to_send({"approved": RELAYED, "relay": relay()}, FakeChain())
    # That the address is the exchange's is the API's claim alone.
    assert "recipient" in done.not_verified and "recipient" not in done.verified


@pytest.mark.parametrize("unknown", ["isAdmin(address)", "adminThreshold()"])
async def test_a_view_without_an_answer_is_unknown(unknown: str) -> None:
    done = await to_send({}, FakeChain(**{unknown: None}))
    assert done.not_verified == (("admin",) if unknown == "isAdmin(address)" else ())
    odd = await to_send({}, FakeChain(**{"isAdmin(address)": 2}))
    assert odd.not_verified == ("admin",)


async def test_decimals_come_from_the_policy_or_the_token() -> None:
    silent = await plan(request(), FakeChain(**{"decimals()": None}))
    assert {"token", "amount"} <= set(silent.verified)
    open_tokens = dataclasses.replace(KNOWN, tokens={})
    read = await plan(request(known=open_tokens), FakeChain())
    assert (read.not_verified, "amount" in read.verified) == (("token",), True)
    usual = await plan(request(known=open_tokens, given_nonce=1))
    assert set(usual.not_verified) == {"token", "amount", "admin", "nonce"}
    with pytest.raises(CheckFailed) as refused:
        await plan(request(known=open_tokens, production=True), FakeChain())
    assert (refused.value.check, refused.value.setting) == ("token", f"chain.{CHAIN}.tokens")


@pytest.mark.parametrize("decimals", [2, 6, 18, 36])
async def test_any_dollar_tokens_decimals_are_counted(decimals: int) -> None:
    amount = 10_050 * 10 ** (decimals - 2)
    parameters = answer()["parameters"]
    parameters[2] = str(amount)
    known = dataclasses.replace(KNOWN, tokens=dict.fromkeys(KNOWN.tokens, decimals))
    done = await plan(request(known=known, parameters=parameters), FakeChain(**{"decimals()": decimals}))
    assert (done.order.amount, "amount" in done.verified) == (amount, True)


# Signatures


def low_v(signature: bytes) -> bytes:
    return signature[:64] + bytes([signature[64] - 27])


def twin(signature: bytes) -> bytes:
    return signature[:32] + (N - int.from_bytes(signature[32:64])).to_bytes(32) + bytes([55 - signature[64]])


@pytest.mark.parametrize("form", [bytes, low_v, twin])
async def test_any_form_of_the_admins_signature_becomes_the_one_that_contracts_accept(form: Any) -> None:
    typed = evm.typed_data((await plan(request(), FakeChain())).order, SENDER, NONCE, SALT)
    done = await plan(request(signature=form(signed(typed))), FakeChain())
    assert done.signature == signed(typed)


async def wrong(signature: bytes, rpc: FakeChain | None = None) -> WrongSignature:
    with pytest.raises(WrongSignature) as refused:
        await plan(request(signature=signature), rpc or FakeChain())
    assert refused.value.signer == SENDER
    assert SENDER not in str(refused.value)
    return refused.value


async def test_a_signature_by_another_key_names_who_signed() -> None:
    typed = evm.typed_data((await plan(request(), FakeChain())).order, SENDER, NONCE, SALT)
    other = PrivateKey((95).to_bytes(32))
    assert (await wrong(signed(typed, other))).recovered == other.public_key.to_checksum_address()


@pytest.mark.parametrize("part", ["domain", "message"])
async def test_a_signature_of_a_miscopied_document_is_wrong(part: str) -> None:
    typed = (await plan(request(), FakeChain())).typed_data
    assert typed is not None
    for name, value in typed[part].items():
        changed = {"chainId": 1, "name": "Collaterals", "version": "1"}.get(name)
        if changed is None:
            changed = STRANGER if len(str(value)) == 42 else "0x" + "ab" * 32 if len(str(value)) == 66 else "5"
        miscopied = {**typed, part: {**typed[part], name: changed}}
        assert (await wrong(signed(miscopied))).recovered not in (None, SENDER)


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65), b"\xff" * 65, b"\1" * 130])
async def test_a_signature_of_no_account_is_wrong(signature: bytes) -> None:
    assert (await wrong(signature)).recovered is None


async def test_a_contract_wallets_own_word_counts_where_it_can_be_asked() -> None:
    signature = b"\x07" * 130
    rpc = FakeChain()
    rpc.codes, rpc.wallet = {SENDER: b"\x60"}, bytes.fromhex("1626ba7e").ljust(32, b"\0")
    done = await plan(request(signature=signature), rpc)
    assert (done.stage, done.signature) == ("send", signature)
    for said in (None, b"", bytes(32), b"\xff" * 32, bytes.fromhex("1626ba7e").rjust(32, b"\0"), bytes(64)):
        rpc.wallet = said
        await wrong(signature, rpc)
    rpc.codes, rpc.wallet = {}, bytes.fromhex("1626ba7e").ljust(32, b"\0")
    await wrong(signature, rpc)


async def test_the_salt_is_asked_for_once_a_nonce_is_known() -> None:
    asked: list[int] = []

    async def remember(nonce: int) -> bytes:
        asked.append(nonce)
        return await salt_for(nonce)

    from machines_mcp.chain.plan import make_plan

    for path in PATHS:
        await make_plan(request(path), FakeChain(), remember)
    assert asked == [NONCE]
