"""Both versions of the contracts on chains of their own, and the ways to call them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from machines_mcp.chain.evm import calldata, digest, typed_data
from machines_mcp.chain.order import CONTROLLER, COORDINATOR, CallPath, Order
from machines_mcp.sandbox.chain.abi import call_data
from machines_mcp.sandbox.chain.artifacts import runtime_codes
from machines_mcp.sandbox.chain.deployment import Deployment, Site
from machines_mcp.sandbox.chain.evm import Message
from machines_mcp.sandbox.chain.key import Key
from machines_mcp.sandbox.chain.node import Mined, Node
from machines_mcp.sandbox.chain.withdrawal import Terms, executor_signature

CHAIN = 84_532
NOW = 1_700_000_000.0
RECIPIENT = "0x" + "1d" * 20
PATHS: dict[int, CallPath] = {1: CONTROLLER, 2: COORDINATOR}
FUNDS, AMOUNT = 5_000_000, 1_000_000


@cache
def key(number: int) -> Key:
    """Return a made-up key: the same again for the same number."""
    return Key(f"0x{number:064x}")


EXECUTOR, ADMIN, STRANGER, SECOND = key(11), key(12), key(13), key(14)


@dataclass(frozen=True)
class Signed:
    """A withdrawal with everything that the chain checks. An admin's signature is for the order in `admin_order`."""

    order: Order
    salts: tuple[bytes, ...] = ()
    signatures: tuple[bytes, ...] = ()
    sender: Key = ADMIN
    target: str = ""
    data: bytes = field(default=b"")

    def calldata(self) -> bytes:
        return self.data or calldata(self.order, self.salts, self.signatures)


class World:
    """A chain with the contracts of one version. `codes` replaces the compiled contracts."""

    def __init__(self, version: int, codes: Mapping[str, bytes] | None = None) -> None:
        self.version = version
        self.now = NOW
        self.node = Node(CHAIN, lambda: self.now)
        self.token, self.entry = (f"0x{byte * 20}" for byte in ("a1", "a2"))
        self.proxy, self.other_proxy, self.other_token = (f"0x{byte * 20}" for byte in ("a3", "a4", "a5"))
        self.codes = {**runtime_codes(), **(codes or {})}
        site = Site(CHAIN, version, self.entry, self.token, "rUSD")
        self.deployment = Deployment(self.node, site, EXECUTOR.address, self.codes)
        for proxy in (self.proxy, self.other_proxy):
            self.deployment.add_proxy(proxy)
            self.deployment.admit(proxy, ADMIN.address)
            self.deployment.mint(proxy, FUNDS)
        self.deployment.admit(self.proxy, SECOND.address)
        for account in (STRANGER, EXECUTOR):
            self.node.fund(account.address)

    def signed(self, *, user: Key = ADMIN, nonce: int = 0, by: Key = EXECUTOR, **changed: Any) -> Signed:
        """Return a withdrawal that the executor `by` signed for a nonce this much above the current one."""
        salt, expires_at = secrets.token_bytes(32), int(self.now) + 1800
        terms = Terms(
            version=self.version,
            chain_id=CHAIN,
            entry_point=self.entry,
            user=user.address,
            collateral=self.proxy,
            asset=self.token,
            amount=AMOUNT,
            recipient=RECIPIENT,
            expires_at=expires_at,
        )
        terms = replace(terms, **changed)
        signature = executor_signature(by, terms, self.deployment.nonce(self.proxy) + nonce, salt)
        order = Order(
            path=PATHS[self.version],
            chain_id=CHAIN,
            target=self.entry,
            collateral=terms.collateral,
            token=terms.asset,
            amount=terms.amount,
            recipient=terms.recipient,
            expires_at=terms.expires_at,
            salt=salt,
            signature=signature,
        )
        return self.with_admin(Signed(order, sender=user), user)

    def with_admin(self, signed: Signed, user: Key, *, by: Key | None = None, nonce: int = 0, **changed: Any) -> Signed:
        """Add the signature of an admin, as version 2 needs it, over the order with these changes."""
        if self.version == 1:
            return signed
        salt = secrets.token_bytes(32)
        signed_nonce = self.deployment.nonce(self.proxy) + nonce
        typed = typed_data(replace(signed.order, **changed), user.address, signed_nonce, salt)
        signature = (by or (user if user in (ADMIN, SECOND) else ADMIN)).sign(digest(typed))
        return replace(signed, salts=(salt,), signatures=(signature,))

    def send(self, signed: Signed) -> Mined:
        """Mine the withdrawal."""
        return self.call(signed.sender, signed.target or self.entry, signed.calldata())

    def call(self, sender: Key, to: str, data: bytes) -> Mined:
        """Mine a transaction."""
        return self.node.send(sender.transaction(CHAIN, self.node.nonce(sender.address), to, data))

    def read(self, to: str, form: str, *values: Any) -> bytes:
        """Return what a view returns."""
        return self.node.look(Message(STRANGER.address, to, call_data(form, *values))).output

    def facts(self) -> list[bytes]:
        """Return all that an attack could change: money, nonces, admins and owners."""
        holders = (self.proxy, self.other_proxy, RECIPIENT, STRANGER.address, ADMIN.address, self.entry)
        executor = "controllerAdmin()" if self.version == 1 else "executor()"
        return [
            *(self.read(self.token, "balanceOf(address)", holder) for holder in holders),
            *(self.read(self.token, form) for form in ("totalSupply()", "issuer()", "symbol()")),
            *(self.read(self.entry, form) for form in ("owner()", executor)),
            *(self.read(self.proxy, form) for form in ("owner()", "entryPoint()", "adminThreshold()", "adminNonce()")),
            self.read(self.proxy, "isAdmin(address)", STRANGER.address),
            self.deployment.nonce(self.proxy).to_bytes(32),
        ]
