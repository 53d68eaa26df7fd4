"""Quotes of withdrawals that can still be used."""

from __future__ import annotations

from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.storage.withdrawals import Quote
from machines_mcp.tools.quote_step import quote_again
from machines_mcp.tools.services import ServiceContext


async def live_quote(call: ServiceContext, quote_id: str) -> Quote:
    """Return the user's quote.

    Raises:
        ToolError: There is none with this id, or it was used or is older than 10 minutes.
    """
    quote = await call.services.state.withdrawals.find_quote(call.user_id, quote_id)
    if quote is None:
        raise ToolError(
            Code.NOT_FOUND,
            next_steps=[NextStep("list_withdrawal_assets", "Choose currency and network, then get a quote.")],
        )
    if not call.services.state.withdrawals.live(quote):
        raise quote_error(quote)
    return quote


def quote_error(quote: Quote) -> ToolError:
    """Return the error for a quote that can't be used any more."""
    if quote.used_by:
        # No next step to a new quote: following it would pay out twice.
        return ToolError(Code.QUOTE_USED)
    return ToolError(Code.QUOTE_EXPIRED, next_steps=[quote_again(quote, "Get a new quote on the same terms.")])
