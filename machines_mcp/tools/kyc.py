"""Steps 3 and 4: the requirements and the submission of the identity check (KYC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.permissions.policy import Policy
from machines_mcp.protocol.tool import (
    Completed,
    NotExecuted,
    Output,
    Reconciliation,
    Text,
    UserInput,
    tool,
)
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.kyc_arguments import (
    IDENTITY,
    SubmitKyc,
    application,
    field_words,
    masked_identity,
    personal_data,
)
from machines_mcp.tools.kyc_fields import KycField, Occupation, kyc_fields, occupations_of
from machines_mcp.tools.kyc_status import USER_MUST_ACT, Meaning, known_status, kyc_sentence, meaning, status_steps
from machines_mcp.tools.reconcile import newest_entry, outcome_from_journal, time_until_conclusive
from machines_mcp.tools.services import ServiceContext, next_step, user_detail
from machines_mcp.tools.text import pluralize

if TYPE_CHECKING:
    from machines_mcp.partner import KycStatus

_HOW = {
    True: "Send the data the user gave, or no data: then the user fills in a form on this machine.",
    False: "Call it without data: the user fills in a form on this machine.",
}


class GetKycRequirements(UserInput):
    occupation_query: Text | None = Field(
        default=None, min_length=2, max_length=60, description="Words to find an occupation's code"
    )


class KycRequirements(Output):
    fields: list[KycField] | None = None
    occupations: list[Occupation]
    occupations_total: int

    def summary(self) -> str:
        if self.fields is None:
            return f"{pluralize(len(self.occupations), 'occupation matches', 'occupations match')} the search."
        required = sum(field.required for field in self.fields)
        return f"{pluralize(len(self.fields), 'field')}, {required} of them required."


class KycSubmitted(Output):
    """The status without link and reason, which may hold personal data: outcomes of approved calls are stored."""

    status: str
    meaning: str = Meaning

    def summary(self) -> str:
        return kyc_sentence(self.status)


async def _approval_details(call: ServiceContext, args: SubmitKyc) -> ApprovalDetails:
    # The question is stored and shown to the model, so it contains none of the data.
    count = len(args.identity_data)
    if not count:
        question = "Fill in the user's identity form and send it to Machines?"
        return ApprovalDetails(question=question, items=(user_detail(call),), only="form")
    names = ", ".join(map(field_words, args.identity_data))
    return ApprovalDetails(
        question=f"Send the user's identity data ({count} fields) to Machines for the check?",
        items=(user_detail(call), Detail("Data sent", names)),
        identity=masked_identity(args),
    )


def _hidden_arguments(policy: Policy) -> dict[str, dict[str, str]]:
    """Remove all identity arguments if the policy keeps identity data away from the model."""
    return {} if policy.identity_through_model else {name: {} for name in IDENTITY}


@tool(title="Get KYC requirements", toolset="onboarding", steps=(3,), action_class=ActionClass.READ, idempotent=True)
async def get_kyc_requirements(call: ServiceContext, args: GetKycRequirements) -> KycRequirements:
    """Get the KYC fields that submit_kyc needs and their rules or, with occupation_query, only the matching occupation
    codes. Next: submit_kyc."""
    client = await call.services.partner.client(call.logged_as)
    values = await client.kyc.values(call.user_id)
    return KycRequirements(
        fields=kyc_fields(values) if args.occupation_query is None else None,
        occupations=occupations_of(values, args.occupation_query),
        occupations_total=len(values.occupations),
        next_steps=[next_step(call, "submit_kyc", _HOW[call.services.state.policy.identity_through_model])],
    )


async def _reconcile(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Check whether Machines has the application; submitting it again does no harm."""
    from_journal = outcome_from_journal(entries)
    if from_journal is not None:
        return from_journal
    entry = newest_entry(entries)
    early, client = time_until_conclusive(call, entry), await call.services.partner.client(call.logged_as)
    found = await client.kyc.status(call.user_id)
    if entry.state != "done" and found.status in ("not_submitted", *USER_MUST_ACT):
        return early or NotExecuted("Machines is still waiting for the data. Send it again.")
    return Completed(_submitted(call, found))


@tool(
    title="Submit KYC data",
    toolset="onboarding",
    steps=(4,),
    action_class=ActionClass.IDENTITY,
    approval_details=_approval_details,
    described=("user_id", *IDENTITY),
    reconcile=_reconcile,
    allowed_values=_hidden_arguments,
    withheld=IDENTITY,
    # What the person is asked takes no read, so that only an approved call makes the user.
    makes_user=lambda _: True,
    idempotent=False,
)
async def submit_kyc(call: ServiceContext, args: SubmitKyc) -> KycSubmitted:
    """Submit the user's KYC identity data. Give all of it exactly as the user gave it (rules: get_kyc_requirements), or
    none: then the user fills in a form on this machine. Requires approval. Kept, encrypted, only while the approval
    waits. Next: get_kyc_status."""
    client, output_filter = await call.services.partner.client(call.logged_as), call.services.state.output_filter
    filled = application(args)
    output_filter.identity_echoes.remember(call.user_id, personal_data(args))
    with output_filter.temporarily(filled.national_id):
        return _submitted(call, await client.kyc.submit(call.user_id, filled))


def _submitted(call: ServiceContext, found: KycStatus) -> KycSubmitted:
    status = known_status(found.status)
    why = "See what it is waiting for, and where the user must act."
    # A user who must act needs the link, which only that call gives.
    steps = status_steps(call, found, why, waits=status not in USER_MUST_ACT)
    return KycSubmitted(status=status, meaning=meaning(status), next_steps=steps)
