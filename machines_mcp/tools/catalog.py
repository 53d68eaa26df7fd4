"""All tools in journey order, which is the order of `tools/list`."""

from __future__ import annotations

from machines_mcp.chain.extras import plans_evm, plans_solana
from machines_mcp.protocol.tool import Tool
from machines_mcp.tools.agreements import accept_agreements, get_agreements
from machines_mcp.tools.approvals import cancel_approval
from machines_mcp.tools.balances import get_balances, list_transactions
from machines_mcp.tools.cards import close_card, create_card, get_card, list_cards, update_card
from machines_mcp.tools.deposits import create_deposit, get_deposit, list_deposit_assets, list_deposits, quote_deposit
from machines_mcp.tools.kyc import get_kyc_requirements, submit_kyc
from machines_mcp.tools.kyc_status import get_kyc_status
from machines_mcp.tools.reveal import reveal_card
from machines_mcp.tools.session import create_session
from machines_mcp.tools.status import status
from machines_mcp.tools.user import resolve_user
from machines_mcp.tools.users import list_users
from machines_mcp.tools.withdrawal_confirmation import confirm_withdrawal
from machines_mcp.tools.withdrawal_list import list_withdrawals
from machines_mcp.tools.withdrawal_transaction import get_withdrawal_transaction
from machines_mcp.tools.withdrawals import create_withdrawal, list_withdrawal_assets, quote_withdrawal

TOOLS: tuple[Tool, ...] = (
    status,
    cancel_approval,
    list_users,
    create_session,
    resolve_user,
    get_kyc_requirements,
    submit_kyc,
    get_kyc_status,
    get_agreements,
    accept_agreements,
    list_deposit_assets,
    quote_deposit,
    create_deposit,
    list_deposits,
    get_deposit,
    get_balances,
    list_transactions,
    list_withdrawal_assets,
    quote_withdrawal,
    create_withdrawal,
    get_withdrawal_transaction,
    confirm_withdrawal,
    list_withdrawals,
    create_card,
    list_cards,
    get_card,
    update_card,
    close_card,
    reveal_card,
)

CHAIN_TOOLS = (get_withdrawal_transaction, confirm_withdrawal)
"""The tools that need the extra `chain` or `solana`."""


def installed_tools() -> tuple[Tool, ...]:
    """Return the tools without those whose extra is not installed."""
    if plans_evm() or plans_solana():
        return TOOLS
    return tuple(tool for tool in TOOLS if tool not in CHAIN_TOOLS)


ACTION_CLASSES = {tool.name: tool.action_classes for tool in TOOLS}
"""The tools that a policy can name, each with the action classes of its calls."""
