"""The step to a new quote of a withdrawal."""

from __future__ import annotations

from machines_mcp.protocol.errors import NextStep
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.withdrawals import Quote
from machines_mcp.tools.withdrawal_arguments import TO_THE_LETTER


def quote_again(quote: Quote, why: str) -> NextStep:
    """Return the step to a new quote on the same terms."""
    terms = {k: v for k, v in quote.terms.items() if k != "estimated_to_amount" and v is not None}
    terms |= {k: Verbatim(v) for k, v in terms.items() if k in TO_THE_LETTER}
    return NextStep("quote_withdrawal", why, terms)
