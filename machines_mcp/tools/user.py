"""Step 2: the user at Machines and their wallet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo

from machines_mcp.partner.formats.addresses import address_fault
from machines_mcp.partner.same_value import same_account
from machines_mcp.partner.vocabulary import WalletChain
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.protocol.tool import (
    WORDS_REFUSED,
    ApprovedText,
    Completed,
    NextStepOutput,
    NotExecuted,
    Output,
    Reconciliation,
    UserInput,
    tool,
)
from machines_mcp.redaction.detectors import masked_text
from machines_mcp.redaction.verbatim import AddressOrMemo, Verbatim, VerbatimArgument
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.addresses import valid
from machines_mcp.tools.kyc_status import known_status, kyc_sentence
from machines_mcp.tools.reconcile import newest_entry, outcome_from_journal, time_until_conclusive
from machines_mcp.tools.services import ServiceContext, next_step, user_detail
from machines_mcp.tools.text import clean
from machines_mcp.tools.wallets import linked_wallet

if TYPE_CHECKING:
    from machines_mcp.partner import User


_WALLET = "Wallet"
_CHAINS = {"evm": "EVM", "solana": "Solana"}
_NETWORKS = {"evm": "ethereum", "solana": "solana"}


def _wallet(value: Verbatim, info: ValidationInfo) -> Verbatim:
    # Without a valid chain, its own fault is enough.
    chain = info.data.get("wallet_chain")
    return valid(value, None if chain is None else address_fault(_NETWORKS[chain], value))


class ResolveUser(UserInput):
    # First, because the form of the address depends on it.
    wallet_chain: WalletChain = Field(default="evm", description="Chain of wallet_address")
    wallet_address: (
        Annotated[
            Verbatim,
            VerbatimArgument(pattern=r"^(0x[0-9a-fA-F]{40}|[1-9A-HJ-NP-Za-km-z]{32,44})$"),
            AfterValidator(_wallet),
        ]
        | None
    ) = Field(
        default=None,
        description="Wallet to link; requires approval",
        examples=["0x and the user's own 40 hex digits"],
    )
    wallet_label: ApprovedText | None = Field(
        default=None, min_length=1, max_length=120, description="Name for the wallet", json_schema_extra=WORDS_REFUSED
    )

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if given.get("wallet_chain") == "solana" and "wallet_address" not in given:
            yield "wallet_address", "is required with a wallet_chain"


class UserResolved(Output):
    user_id: Verbatim
    wallet_chain: WalletChain | None = None
    wallet_address: AddressOrMemo | None = None
    kyc_status: str
    created_at: datetime | None = None

    def summary(self) -> str:
        chain = "Solana wallet" if self.wallet_chain == "solana" else "wallet"
        wallet = f" Their {chain} is {self.wallet_address}." if self.wallet_address else ""
        return f"The user is registered at Machines. {kyc_sentence(self.kyc_status)}{wallet}"


def _action_class(args: ResolveUser) -> ActionClass:
    return ActionClass.IDENTITY if args.wallet_address else ActionClass.WRITE


async def _approval_details(call: ServiceContext, args: ResolveUser) -> ApprovalDetails:
    wallet = args.wallet_address or ""
    return ApprovalDetails(
        question=f"Link this {_CHAINS[args.wallet_chain]} wallet to the user at Machines?",
        items=(
            user_detail(call),
            Detail(_WALLET, clean(wallet), "replaces the currently linked wallet, if any", by="agent"),
            Detail("Chain", _CHAINS[args.wallet_chain]),
        ),
    )


async def _reconcile(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Check which wallet is linked; resolving without a wallet changes nothing."""
    from_journal = outcome_from_journal(entries)
    if from_journal is not None:
        return from_journal
    early, client = (
        time_until_conclusive(call, newest_entry(entries)),
        await call.services.partner.client(call.logged_as),
    )
    user = await client.users.resolve(call.user_id)
    asked = [detail.value for detail in approval.details.items if detail.label == _WALLET]
    # The stored address is masked if it resembles sensitive data, so compare it masked.
    linked = masked_text(clean(linked_wallet(user)[1] or ""))
    if any(same_account(each, linked) or (each[:2] == "0x" and each.lower() == linked.lower()) for each in asked):
        return Completed(_output(call, user))
    return early or NotExecuted("Another wallet is linked, or none is.")


@tool(
    title="Create or find the user",
    toolset="onboarding",
    steps=(2,),
    action_class=(ActionClass.WRITE, ActionClass.IDENTITY),
    action_class_of=_action_class,
    approval_details=_approval_details,
    described=("user_id", "wallet_chain", "wallet_address"),
    reconcile=_reconcile,
    idempotent=True,
    makes_user=lambda _: True,
)
async def resolve_user(call: ServiceContext, args: ResolveUser) -> UserResolved:
    """Create or find the user at Machines and return their KYC status. Give wallet_address only to link or change the
    user's wallet. Next: follow next_steps."""
    client = await call.services.partner.client(call.logged_as)
    user = await client.users.resolve(
        call.user_id,
        wallet_address=args.wallet_address,
        wallet_label=args.wallet_label,
        wallet_chain=args.wallet_chain,
    )
    return _output(call, user)


def _output(call: ServiceContext, user: User) -> UserResolved:
    chain, address = linked_wallet(user)
    return UserResolved(
        user_id=user.user_id,
        wallet_chain=chain if address else None,
        wallet_address=address,
        kyc_status=known_status(user.kyc_status),
        created_at=user.created_at,
        next_steps=[kyc_next_step(call, user.kyc_status)],
    )


def kyc_next_step(call: ServiceContext, status: str | None) -> NextStepOutput:
    """Return the next step for a user with this KYC status."""
    if status == "not_submitted":
        return next_step(call, "get_kyc_requirements", "See which identity data the check needs.")
    if status == "approved":
        return next_step(call, "get_agreements", "KYC is approved; the agreements come next.")
    return next_step(call, "get_kyc_status", "See what the identity check is waiting for.")
