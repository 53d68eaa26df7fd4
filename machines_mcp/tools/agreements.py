"""Step 7: the agreements, which a user accepts together after KYC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from machines_mcp.partner.errors import InvalidState
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, Author, Detail, seen_digest
from machines_mcp.protocol.errors import Code, ToolError
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
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.redaction.links import is_openable
from machines_mcp.redaction.verbatim import Identifier
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.error_mapping import agreements_missing, kyc_missing
from machines_mcp.tools.reconcile import newest_entry, outcome_from_journal, time_until_conclusive
from machines_mcp.tools.services import ServiceContext, next_step, user_detail
from machines_mcp.tools.text import clean, pluralize

if TYPE_CHECKING:
    from machines_mcp.partner import Agreements
    from machines_mcp.partner.models.agreements import Agreement

_UNNAMED = "without a name"
MAX_TEXT = 100_000
"""The most characters of agreements that one approval can show."""


class GetAgreements(UserInput):
    pass


class AgreementOutput(OutputPart):
    id: Identifier | None = None
    text: ForeignText | None = None
    links: list[str]


class AgreementsOutput(Output):
    accepted: bool
    accepted_at: datetime | None = None
    agreements: list[AgreementOutput]

    def summary(self) -> str:
        if self.accepted:
            return "The agreements are accepted."
        return f"{pluralize(len(self.agreements), 'agreement')} to accept."


async def _approval_details(call: ServiceContext, args: GetAgreements) -> ApprovalDetails:
    client = await call.services.partner.client(call.logged_as)
    found = await client.agreements.get(call.user_id)
    count = pluralize(len(found.agreements), "agreement")
    if not all(map(_is_whole, found.agreements)):
        message = "Machines sent agreements that can't be shown in full, so nothing was asked. Tell the operator."
        raise ToolError(Code.PARTNER_MALFORMED, message=message)
    details = ApprovalDetails(
        question=f"Accept {count} for the user? The whole text of each is below.",
        items=(user_detail(call), *(row for each in found.agreements for row in _rows(each))),
        seen=seen_digest(*(text for each in found.agreements for text in _texts(each))),
    )
    if sum(len(item.value) for item in details.items) > MAX_TEXT:
        message = (
            "The agreements are too long to be shown to a person in full, so nothing was asked. Tell the operator."
        )
        raise ToolError(Code.PARTNER_MALFORMED, message=message)
    return details


def _is_whole(agreement: Agreement) -> bool:
    """Whether everything that Machines sent of an agreement could be read."""
    links = all(link.url and not link.odd for link in agreement.links)
    return bool(agreement.text) and not agreement.odd and links


def _rows(agreement: Agreement) -> Iterator[Detail]:
    """Yield the whole text, then each link. A link that a person must not open is not shown."""
    yield Detail("Agreement", clean(agreement.text, len(agreement.text)), by="machines")
    for link in agreement.links:
        label = clean(link.label, len(link.label))
        author: Author | None = "machines" if label else None
        if is_openable(link.url):
            yield Detail("Document", label or _UNNAMED, url=link.url, by=author)
        else:
            note = "its link is not shown, because it is not an https address"
            yield Detail("Document", label or _UNNAMED, note, by=author)


def _texts(agreement: Agreement) -> Iterator[str]:
    yield from (agreement.id or "", agreement.text)
    for link in agreement.links:
        yield from (link.label, link.url)


@tool(title="Get agreements", toolset="onboarding", steps=(7,), action_class=ActionClass.READ, idempotent=True)
async def get_agreements(call: ServiceContext, args: GetAgreements) -> AgreementsOutput:
    """Get the agreements and whether the user accepted them; requires approved KYC. Show the user the texts and links
    before accepting. Next: accept_agreements."""
    client = await call.services.partner.client(call.logged_as)
    found = await client.agreements.get(call.user_id)
    # A user who accepted earlier may already have a balance.
    first_steps = (
        [next_step(call, "get_balances", "Already accepted; see what the user can spend.")] if found.accepted else []
    )
    return _output(call, found, first_steps)


async def _reconcile(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Check whether the agreements are accepted."""
    from_journal = outcome_from_journal(entries)
    if from_journal is not None:
        return from_journal
    early, client = (
        time_until_conclusive(call, newest_entry(entries)),
        await call.services.partner.client(call.logged_as),
    )
    found = await client.agreements.get(call.user_id)
    return (
        Completed(_output(call, found)) if found.accepted else early or NotExecuted("The agreements are not accepted.")
    )


@tool(
    title="Accept agreements",
    toolset="onboarding",
    steps=(7,),
    action_class=ActionClass.CONSENT,
    approval_details=_approval_details,
    described=("user_id",),
    reconcile=_reconcile,
    idempotent=True,
)
async def accept_agreements(call: ServiceContext, args: GetAgreements) -> AgreementsOutput:
    """Accept all agreements at once for the user, after they have read them. Requires approval. Unlocks deposits,
    withdrawals and cards. Next: list_deposit_assets."""
    client = await call.services.partner.client(call.logged_as)
    return _output(call, await client.agreements.accept(call.user_id))


def _output(call: ServiceContext, found: Agreements, first: Sequence[NextStepOutput] = ()) -> AgreementsOutput:
    if found.accepted:
        # The second step is for a server without the funding tools.
        follow = [
            *first,
            next_step(call, "list_deposit_assets", "Accepted; see which currencies can fund the account."),
            next_step(call, "create_card", "Issue a card with a limit the user chooses."),
        ]
    else:
        follow = [next_step(call, "accept_agreements", "Accept them once the user has read them.")]
    return AgreementsOutput(
        accepted=found.accepted,
        accepted_at=found.accepted_at,
        agreements=[
            AgreementOutput(
                id=a.id,
                text=ForeignText.of(a.text, 4000),
                links=[link.url for link in a.links if call.services.state.may_show_link(call.user_id, link.url)],
            )
            for a in found.agreements
        ],
        next_steps=follow,
    )


async def require_agreements(call: ServiceContext) -> None:
    """Refuse before approval what the API would refuse afterwards.

    Raises:
        ToolError: KYC is not approved, or the agreements are not accepted.
    """
    client = await call.services.partner.client(call.logged_as)
    try:
        found = await client.agreements.get(call.user_id)
    except InvalidState:
        raise kyc_missing() from None
    if not found.accepted:
        raise agreements_missing()
