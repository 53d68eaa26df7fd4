"""What the contracts must refuse: each attack sends one transaction, which would move money or power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from machines_mcp.chain.evm import calldata
from machines_mcp.sandbox.chain.abi import call_data
from machines_mcp.sandbox.chain.node import Mined
from tests.chain.contract_world import ADMIN, AMOUNT, CHAIN, EXECUTOR, RECIPIENT, SECOND, STRANGER, Signed, World

ORDER_OF_CURVE = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
Attack = Callable[[World], Mined]


def changed(**fields: Any) -> Attack:
    """Return an attack that changes arguments after the executor signed. The admins sign the changed ones."""

    def attack(world: World) -> Mined:
        signed = world.signed()
        signed = replace(signed, order=replace(signed.order, **fields))
        return world.send(world.with_admin(signed, ADMIN))

    return attack


def admin_signed(**fields: Any) -> Attack:
    """Return an attack in which the admin signed other values than those that are sent."""
    return lambda world: world.send(world.with_admin(world.signed(), ADMIN, **fields))


def call(sender: Any, contract: str, form: str, *values: Any) -> Attack:
    """Return a call of a function that is not for this sender, at a contract of the world."""
    return lambda world: world.call(sender, getattr(world, contract), call_data(form, *values))


def other_token(world: World) -> Mined:
    world.node.place(world.other_token, world.codes["token"])
    return changed(token=world.other_token)(world)


def replay(world: World) -> Mined:
    signed = world.signed()
    assert world.send(signed).succeeded
    return world.send(signed)


def replay_with_a_fresh_admin_signature(world: World) -> Mined:
    signed = world.signed()
    assert world.send(signed).succeeded
    return world.send(world.with_admin(signed, ADMIN))


def expired(world: World) -> Mined:
    """At the second of the expiry itself."""
    signed = world.signed()
    world.now = signed.order.expires_at
    return world.send(signed)


def voided(world: World) -> Mined:
    signed = world.signed()
    world.deployment.raise_nonce(world.proxy)
    return world.send(world.with_admin(signed, ADMIN))


def high_s(world: World) -> Mined:
    signed = world.signed()
    (signature,) = signed.signatures
    s = ORDER_OF_CURVE - int.from_bytes(signature[32:64])
    return world.send(replace(signed, signatures=(signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]]),)))


def not_direct(world: World) -> Mined:
    signed = world.signed()
    data = calldata(signed.order, signed.salts, signed.signatures)
    # `direct` is the tenth word.
    return world.send(replace(signed, data=data[: 4 + 9 * 32] + bytes(32) + data[4 + 10 * 32 :]))


def salt_too_many(world: World) -> Mined:
    signed = world.signed()
    return world.send(replace(signed, salts=(*signed.salts, bytes(32))))


def signed_twice_by_one(world: World) -> Mined:
    signed = world.signed()
    again = world.with_admin(signed, ADMIN)
    return world.send(
        replace(signed, salts=signed.salts + again.salts, signatures=signed.signatures + again.signatures)
    )


def withdraw_signed(world: World, signed: Signed) -> bytes:
    """Return the call that the coordinator makes of the collateral."""
    form = "withdrawSigned(address,address,uint256,address,bytes32[],bytes[])"
    terms = (ADMIN.address, world.token, AMOUNT, RECIPIENT)
    return call_data(form, *terms, list(signed.salts), list(signed.signatures))


_STRANGER = STRANGER.address
BOTH: dict[str, Attack] = {
    "amount": changed(amount=2 * AMOUNT),
    "recipient": changed(recipient=_STRANGER),
    "token": other_token,
    "expiry": changed(expires_at=4_000_000_000),
    "executor salt": changed(salt=b"\1" * 32),
    "executor signature": changed(signature=b"\2" * 64 + b"\x1b"),
    "empty executor signature": changed(signature=b""),
    "signature of a zero key": changed(signature=bytes(65)),
    "collateral": lambda world: changed(collateral=world.other_proxy)(world),
    "another executor": lambda world: world.send(world.signed(by=ADMIN)),
    "signed for another chain": lambda world: world.send(world.signed(chain_id=CHAIN + 1)),
    "signed for another entry point": lambda world: world.send(world.signed(entry_point=world.proxy)),
    "signed for the next nonce": lambda world: world.send(world.signed(nonce=1)),
    "replay": replay,
    "replay with a fresh admin signature": replay_with_a_fresh_admin_signature,
    "expired": expired,
    "voided by the owner": voided,
    "another sender": lambda world: world.send(replace(world.signed(), sender=STRANGER)),
    "another admin as sender": lambda world: world.send(replace(world.signed(), sender=SECOND)),
    "the executor signed for no admin": lambda world: world.send(world.signed(user=STRANGER)),
    "more than there is": lambda world: world.send(world.signed(amount=10**9)),
    "the proxy as target": lambda world: world.send(replace(world.signed(), target=world.proxy)),
    "withdrawAsset of the collateral": lambda world: call(
        *(ADMIN, "proxy", "withdrawAsset(address,uint256,address)", world.token, AMOUNT, _STRANGER)
    )(world),
    "withdrawSigned of the collateral": lambda world: world.call(
        ADMIN, world.proxy, withdraw_signed(world, world.signed())
    ),
    "addAdmin": call(STRANGER, "proxy", "addAdmin(address)", _STRANGER),
    "increaseNonce of the collateral": call(STRANGER, "proxy", "increaseNonce(uint256)", 1),
    "initialize the collateral": call(STRANGER, "proxy", "initialize(address,address,uint256)", *([_STRANGER] * 2), 0),
    "initialize the entry point": call(STRANGER, "entry", "initialize(address,address)", _STRANGER, _STRANGER),
    "initialize the token": call(STRANGER, "token", "initialize(address,string,string)", _STRANGER, "x", "x"),
    "mint": call(STRANGER, "token", "mint(address,uint256)", _STRANGER, AMOUNT),
    "burn": lambda world: call(STRANGER, "token", "burn(address,uint256)", world.proxy, AMOUNT)(world),
    "transfer without money": call(STRANGER, "token", "transfer(address,uint256)", ADMIN.address, 1),
}
OF_VERSION: dict[int, dict[str, Attack]] = {
    1: {
        "increaseNonce of the controller": lambda world: call(
            STRANGER, "entry", "increaseNonce(address,uint256)", world.proxy, 1
        )(world)
    },
    2: {
        "admin signed another amount": admin_signed(amount=AMOUNT - 1),
        "admin signed another recipient": admin_signed(recipient=_STRANGER),
        "admin signed another token": admin_signed(token=_STRANGER),
        "admin signed another collateral": admin_signed(collateral=_STRANGER),
        "admin signed on another chain": admin_signed(chain_id=CHAIN + 1),
        "admin signed the next nonce": admin_signed(nonce=1),
        "admin signed for another sender": lambda world: world.send(world.with_admin(world.signed(), SECOND, by=ADMIN)),
        "a stranger signed as admin": admin_signed(by=STRANGER),
        "the executor signed as admin": admin_signed(by=EXECUTOR),
        "another admin salt": lambda world: world.send(replace(world.signed(), salts=(b"\3" * 32,))),
        "a zero admin signature": lambda world: world.send(replace(world.signed(), signatures=(bytes(65),))),
        "no admin signature": lambda world: world.send(replace(world.signed(), salts=(), signatures=())),
        "a salt too many": salt_too_many,
        "one admin twice": signed_twice_by_one,
        "the higher s": high_s,
        "not direct": not_direct,
    },
}
CHANGE_FIRST = frozenset({"replay", "replay with a fresh admin signature", "voided by the owner"})
"""The attacks before which something changes that may."""


def attacks(version: int) -> dict[str, Attack]:
    """Return the attacks on a version."""
    return BOTH | OF_VERSION[version]
