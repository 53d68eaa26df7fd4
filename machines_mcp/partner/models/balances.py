"""Account balances."""

from __future__ import annotations

from machines_mcp.partner.models.base import Answer
from machines_mcp.partner.models.types import Cents


class Balances(Answer):
    """A user's balances, all in US cents."""

    spending_power: Cents
    credit_limit: Cents
    pending_charges: Cents
    posted_charges: Cents
    balance_due: Cents
