"""Account balances."""

from __future__ import annotations

from machines_mcp.partner.models.base import ResponseModel, documented
from machines_mcp.partner.models.types import Cents


class Balances(ResponseModel):
    """A user's balances, all in US cents. One that can't be read is None."""

    spending_power: Cents | None = documented()
    credit_limit: Cents | None = documented()
    pending_charges: Cents | None = documented()
    posted_charges: Cents | None = documented()
    balance_due: Cents | None = documented()
