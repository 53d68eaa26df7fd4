"""The partner's users."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from machines_mcp.partner.formats.addresses import address_fault
from machines_mcp.partner.models.address_or_memo import Account
from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.kyc import KycStatusValue
from machines_mcp.partner.models.types import Moment, RepeatedUserId, ShortText, UserId, Visible
from machines_mcp.partner.vocabulary import WalletChain

_NETWORKS: dict[str, str] = {"evm": "ethereum", "solana": "solana"}


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


def _on_chain(address: str, info: ValidationInfo) -> str:
    if address_fault(_NETWORKS[info.data.get("wallet_chain", "evm")], address) is not None:
        raise ValueError("not valid on the chain")
    return address


class ResolveUserBody(RequestModel):
    """Body of `POST /users/resolve`, in the documented form or, for a Solana wallet, in the one that takes such."""

    user_id: UserId
    wallet_chain: WalletChain = "evm"
    wallet_address: Annotated[Visible, AfterValidator(_on_chain)] | None = None
    wallet_label: ShortText | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the body. Without a Solana wallet, it names no chain."""
        flat = super().to_json()
        chain, address = flat.pop("walletChain"), flat.get("walletAddress")
        if chain == "evm" or address is None:
            return flat
        rest = {name: value for name, value in flat.items() if name not in ("userId", "walletAddress")}
        return {"externalUserId": flat["userId"], "wallet": {"chain": chain, "address": address}} | rest
