"""The partner's users."""

from __future__ import annotations

from machines_mcp.partner.models.address_or_memo import Account
from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.kyc import KycStatusValue
from machines_mcp.partner.models.types import EvmAddress, Moment, RepeatedUserId, ShortText, UserId


class Wallet(ResponseModel):
    """The wallet of a user, on the chain `evm` or `solana`."""

    chain: str | None = documented()
    address: Account | None = documented()


class User(ResponseModel):
    """A user as the API knows it. `wallet_address` is returned in lower case."""

    user_id: RepeatedUserId
    wallet_address: Account | None = None
    wallet: Wallet | None = None
    kyc_status: KycStatusValue | None = documented()
    created_at: Moment | None = None


class ResolveUserBody(RequestModel):
    """Body of `POST /users/resolve`."""

    user_id: UserId
    wallet_address: EvmAddress | None = None
    wallet_label: ShortText | None = None
