"""Account balances."""

from __future__ import annotations

from machines_mcp.partner.models.base import ResponseModel
from machines_mcp.partner.models.types import Cents


class Balances(ResponseModel):
    """A user's balances, all in US cents."""

    spending_power: Cents
    credit_limit: Cents
    pending_charges: Cents
    posted_charges: Cents
    balance_due: Cents
