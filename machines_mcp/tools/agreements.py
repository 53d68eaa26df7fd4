"""Step 7: the agreements a user accepts, all at once, after KYC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from machines_mcp.partner.errors import InvalidState
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.protocol.tool import (
    Completed,
    NextStepOutput,
    NotExecuted,
    Output,
    OutputPart,
    Reconciliation,
    UserInput,
    tool,
)
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.error_mapping import agreements_missing, kyc_missing
from machines_mcp.tools.reconcile import known, newest, too_early
from machines_mcp.tools.services import UserCall, next_step, user_fact
from machines_mcp.tools.text import clean, pluralize, quote_text

if TYPE_CHECKING:
    from machines_mcp.partner import Agreements


class AgreementsOf(UserInput):
    pass


class AgreementText(OutputPart):
    id: Verbatim
    text: str
    links: list[str]


class AgreementsShown(Output):
    accepted: bool
    accepted_at: datetime | None = None
    agreements: list[AgreementText]

    def summary(self) -> str:
        if self.accepted:
            return "The agreements are accepted."
        return f"{pluralize(len(self.agreements), 'agreement')} to be accepted."


async def _approval_details(call: UserCall, args: AgreementsOf) -> ApprovalDetails:
    client = await call.services.partner()
    found = await client.agreements.get(call.user_id)
    lines = [
        f"{quote_text(a.text, 600)} {' '.join(quote_text(link.url, 300) for link in a.links)}" for a in found.agreements
    ]
    return ApprovalDetails(
        question=f"Accept these agreements for the user {quote_text(call.user_id, 120)}?\n"
        + "\n".join(f"- {line}" for line in lines),
        items=(user_fact(call), *(Detail("Agreement", line) for line in lines)),
    )


@tool(title="Show the agreements", toolset="onboarding", steps=(7,), action_class=ActionClass.READ)
async def get_agreements(call: UserCall, args: AgreementsOf) -> AgreementsShown:
    """Show the agreements of a user whose identity check is approved, and whether they are accepted. Show the texts
    and links to the user before accepting. Next: accept_agreements, or funding if they are accepted."""
    client = await call.services.partner()
    found = await client.agreements.get(call.user_id)
    # Who accepted them before may have been funded since.
    standing = [next_step(call, "get_balances", "They are accepted; see what can be spent.")] if found.accepted else []
    return _shown(call, found, standing)


async def _settle(call: UserCall, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """See whether they are accepted."""
    told = known(entries)
    if told is not None:
        return told
    early, client = too_early(call, newest(entries)), await call.services.partner()
    found = await client.agreements.get(call.user_id)
    return Completed(_shown(call, found)) if found.accepted else early or NotExecuted("They are not accepted.")


@tool(
    title="Accept the agreements",
    toolset="onboarding",
    steps=(7,),
    action_class=ActionClass.CONSENT,
    approval_details=_approval_details,
    reconcile=_settle,
)
async def accept_agreements(call: UserCall, args: AgreementsOf) -> AgreementsShown:
    """Accept all agreements for the user, after they have read them; a person is asked. There is no accepting of
    single ones. Unlocks deposits, withdrawals and cards. Next: list_deposit_assets."""
    client = await call.services.partner()
    return _shown(call, await client.agreements.accept(call.user_id))


def _shown(call: UserCall, found: Agreements, first: Sequence[NextStepOutput] = ()) -> AgreementsShown:
    if found.accepted:
        # The second is for a server that does not fund.
        follow = [
            *first,
            next_step(call, "list_deposit_assets", "Accepted; see what the account can be funded with."),
            next_step(call, "create_card", "Issue a card; choose its limit with the user."),
        ]
    else:
        follow = [next_step(call, "accept_agreements", "Accept them once the user has read them.")]
    return AgreementsShown(
        accepted=found.accepted,
        accepted_at=found.accepted_at,
        agreements=[
            AgreementText(id=a.id, text=clean(a.text, 4000), links=[clean(link.url, 500) for link in a.links])
            for a in found.agreements
        ],
        next_steps=follow,
    )


async def need_agreements(call: UserCall) -> None:
    """Refuse, before a person is asked, what the API would refuse afterwards.

    Raises:
        Refusal: KYC is not approved, or the agreements are not accepted.
    """
    client = await call.services.partner()
    try:
        found = await client.agreements.get(call.user_id)
    except InvalidState:
        raise kyc_missing() from None
    if not found.accepted:
        raise agreements_missing()
