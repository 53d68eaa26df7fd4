"""What a wallet gets of a plan, on either kind of chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from machines_mcp.chain.plan import Plan
    from machines_mcp.chain.solana_plan import SolanaPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanParts:
    """The parts of a plan. Those of the other kind of chain are None."""

    stage: Literal["sign", "send"] = "send"
    typed_data: Mapping[str, Any] | None = None
    transaction: Mapping[str, Any] | None = None
    transaction_base64: str | None = None
    blockhash: str | None = None
    last_valid_block_height: int | None = None


def parts_of(plan: Plan | SolanaPlan) -> PlanParts:
    """Return what the wallet signs or sends."""
    from machines_mcp.chain.solana_plan import SolanaPlan

    if isinstance(plan, SolanaPlan):
        return PlanParts(
            transaction_base64=plan.transaction_base64,
            blockhash=plan.blockhash,
            last_valid_block_height=plan.last_valid_block_height,
        )
    return PlanParts(stage=plan.stage, typed_data=plan.typed_data, transaction=plan.transaction)
