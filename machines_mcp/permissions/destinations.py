"""Destinations of withdrawals: when two are the same."""

from __future__ import annotations

from machines_mcp.partner.formats.addresses import normal_address
from machines_mcp.storage.withdrawals import Destination


def normal_destination(to: Destination) -> tuple[str, str, str, str]:
    """Return a form that is equal for equal destinations, in which tickers, networks and hex digits ignore case."""
    return to.currency.lower(), to.network.lower(), normal_address(to.network, to.address), to.extra_id or ""
