"""The wallet that sends a withdrawal's transaction.

On an EVM chain the signature of Machines counts for this wallet alone, so no withdrawal is requested without it. On
Solana the owner of the collateral sends it, and an address is optional.
"""

from __future__ import annotations

from machines_mcp.partner.formats.networks import may_have_chain
from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.tools.services import ServiceContext
from machines_mcp.tools.wallets import Family, family_of_account, linked_wallet
from machines_mcp.tools.withdrawal_arguments import QuoteWithdrawal

_LINK = "or have the user link one with resolve_user"
_MISSING = f"is required: no EVM wallet is linked to the user. Give the wallet that will send the transaction, {_LINK}"


async def admin_address(call: ServiceContext, args: QuoteWithdrawal) -> Verbatim | None:
    """Return the wallet that will send the transaction: the given one, or the user's linked EVM wallet.

    None if the withdrawal is paid from Solana and no wallet is given.

    Raises:
        ToolError: `input.invalid` on `admin_address`: none is known, or it is not of the chain that pays.
    """
    pays = _family(args)
    if args.admin_address is not None:
        if pays is not None and pays != family_of_account(args.admin_address):
            raise _invalid(f"must be a wallet on {_NAMES[pays]}, which the withdrawal is paid from")
        return args.admin_address
    if pays == "solana":
        return None
    client = await call.services.partner.client(call.logged_as)
    user = await client.users.get(call.user_id)
    _, address = linked_wallet(user)
    linked = None if address is None else family_of_account(address)
    if address is not None and linked == "evm":
        return Verbatim(address)
    if linked == "solana" and pays is None:
        return None
    raise _invalid(_MISSING)


_NAMES: dict[Family, str] = {"evm": "an EVM chain", "solana": "Solana"}


def _family(args: QuoteWithdrawal) -> Family | None:
    """Return the family of the chain that pays, if the arguments name it."""
    if args.source_chain_id is not None:
        return "solana" if may_have_chain("solana", args.source_chain_id) else "evm"
    return None if args.source_token_address is None else family_of_account(args.source_token_address)


def _invalid(rule: str) -> ToolError:
    step = NextStep("resolve_user", "See which wallet is linked to the user.")
    return ToolError(Code.INPUT_INVALID, fields=[FieldError("admin_address", rule)], next_steps=[step])
