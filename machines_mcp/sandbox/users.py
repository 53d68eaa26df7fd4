"""The partner's users: created by the first session or resolve request, and linked to one wallet."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from machines_mcp.sandbox.envelope import Success
from machines_mcp.sandbox.user import User

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.state import State

EVM_ADDRESS: Final = r"0x[a-fA-F0-9]{40}"
SOLANA_ADDRESS: Final = r"[1-9A-HJ-NP-Za-km-z]{32,44}"
_SUMMARIES: Final = {"not_submitted": "user linked; kyc not started"}


def find(state: State, user_id: str) -> User | None:
    row = state.row("SELECT * FROM users WHERE user_id = ?", user_id)
    return None if row is None else User.of(row)


def resolve(call: Call) -> Success:
    """POST /users/resolve: create or link a user."""
    fields = call.body()
    fields.optional_text("walletLabel", least=0, most=120)
    user = link(call.state, named(fields), wallet(fields))
    data = {
        "userId": user.user_id,
        "walletAddress": user.wallet_address,
        "wallet": user.wallet,
        "kycStatus": user.kyc_status,
        "createdAt": call.iso(user.created_at),
    }
    kyc = user.kyc_status.replace("_", " ")
    return Success(data, _SUMMARIES.get(user.kyc_status, f"user linked; kyc {kyc}"))


def named(fields: Fields) -> str:
    """Return the partner's user id from either body variant."""
    if fields.has("externalUserId") and not fields.has("userId"):
        return fields.text("externalUserId", most=120)
    user_id = fields.text("userId", most=120)
    if fields.has("externalUserId") and fields.values["externalUserId"] != user_id:
        fields.refuse("externalUserId", "must not differ from userId")
    return user_id


def wallet(fields: Fields) -> tuple[str, str] | None:
    """Return the wallet's chain and address from either body variant, EVM addresses in lower case."""
    if (inner := fields.optional_child("wallet")) is not None:
        chain = inner.choice("chain", ("evm", "solana"))
        if chain == "solana":
            return chain, inner.text("address", pattern=SOLANA_ADDRESS)
        return chain, inner.text("address", pattern=EVM_ADDRESS).lower()
    address = fields.optional_text("walletAddress", pattern=EVM_ADDRESS)
    return None if address is None else ("evm", address.lower())


def link(state: State, user_id: str, wallet: tuple[str, str] | None) -> User:
    """Return the user with this id, creating it if needed and setting the wallet if one is given."""
    if state.row("SELECT 1 FROM users WHERE user_id = ?", user_id) is None:
        data_key = state.seal(secrets.token_hex(32), "data key")
        state.insert("users", user_id=user_id, created_at=state.clock.now(), data_key=data_key)
    if wallet is not None:
        state.db.execute("UPDATE users SET wallet_chain = ?, wallet_address = ? WHERE user_id = ?", (*wallet, user_id))
    user = find(state, user_id)
    if user is None:
        raise LookupError("the user that was just written is missing")
    return user
