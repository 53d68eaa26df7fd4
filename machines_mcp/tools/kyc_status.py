"""Steps 5 and 6: the status of the identity check, in our own words, and where the user continues.

The provider's text and its link can repeat what the user typed. The model gets neither text, and the link only if the
policy allows it; the desk shows both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from machines_mcp.partner.waiting import poll_seconds
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.approval_arguments import WaitSeconds
from machines_mcp.protocol.tool import NextStepOutput, Output, UserInput, tool
from machines_mcp.tools.kyc_reasons import own_words
from machines_mcp.tools.polling import wait_until
from machines_mcp.tools.services import ServiceContext, next_step

if TYPE_CHECKING:
    from machines_mcp.partner import KycStatus

MEANINGS = {
    "not_submitted": "No application yet.",
    "pending": "The checks are running.",
    "manual_review": "A person at the provider is reviewing it.",
    "needs_information": "The user must provide more information on the identity provider's page.",
    "needs_verification": "The user must show an ID document and a selfie on the identity provider's page.",
    "approved": "Passed.",
    "denied": "Permanently denied; only support can help.",
    "locked": "Blocked; only support can help.",
    "canceled": "Ended; only support can help.",
}
_SENTENCES = {
    "not_submitted": "The identity check is not submitted.",
    "pending": "The identity check is pending.",
    "manual_review": "The identity check is in manual review.",
    "needs_information": "The identity check needs more information from the user.",
    "needs_verification": "The identity check needs an ID document and a selfie of the user.",
    "approved": "The identity check is approved.",
    "denied": "The identity check is denied.",
    "locked": "The identity check is locked.",
    "canceled": "The identity check is canceled.",
}
USER_MUST_ACT = ("needs_information", "needs_verification")
Meaning = Field(description="Of status")
UNRECOGNIZED = "unrecognized"


class GetKycStatus(UserInput):
    wait_seconds: WaitSeconds = 0


class KycStatusOutput(Output):
    status: str
    meaning: str = Meaning
    reason: str | None = None
    verification_link: str | None = None
    still_waiting: bool | None = None
    poll_after_seconds: float | None = None

    def summary(self) -> str:
        return kyc_sentence(self.status)


@tool(title="Get KYC status", toolset="onboarding", steps=(5, 6), action_class=ActionClass.READ, idempotent=True)
async def get_kyc_status(call: ServiceContext, args: GetKycStatus) -> KycStatusOutput:
    """Get the status of KYC, the identity check. Give a verification_link to the user: only they can act on that page.
    Next: get_agreements once approved."""
    client = await call.services.partner.client(call.logged_as)
    found, _ = await wait_until(
        call,
        lambda: client.kyc.status(call.user_id),
        lambda found: found.settled,
        seconds=args.wait_seconds,
        what="the identity check",
    )
    status = known_status(found.status)
    open_ended = not found.settled
    must_act = open_ended and (status in USER_MUST_ACT or found.link is not None)
    shown = await _link_to_show(call, found.link) if must_act else None
    return KycStatusOutput(
        status=status,
        meaning=meaning(status),
        reason=own_words(found.reason),
        verification_link=shown,
        still_waiting=True if open_ended and args.wait_seconds > 0 else None,
        poll_after_seconds=poll_seconds(found) if open_ended else None,
        next_steps=status_steps(call, found, _why(shown) if must_act else "Wait for the check."),
    )


def known_status(upstream: str | None) -> str:
    """Return a documented status, or `unrecognized`: any other word could be the user's own."""
    return upstream if upstream in MEANINGS else UNRECOGNIZED


def kyc_sentence(upstream: str | None) -> str:
    """Return a status as a sentence."""
    return _SENTENCES.get(upstream or "", "The identity check has an unrecognized status.")


def meaning(upstream: str | None) -> str:
    """Return what a status means, in a sentence."""
    return MEANINGS.get(upstream or "", "Unrecognized status. It may change by itself.")


def status_steps(call: ServiceContext, found: KycStatus, why: str, *, waits: bool = True) -> list[NextStepOutput]:
    """Return the next step at this status. `why` is the reason to ask again, if that is the step.

    `waits`: that call waits for a change.
    """
    if found.status == "not_submitted":
        return [next_step(call, "get_kyc_requirements", "See which identity data the check needs.")]
    if found.status == "approved":
        return [next_step(call, "get_agreements", "KYC is approved; show the user the agreements.")]
    wait = {"wait_seconds": 30} if waits else {}
    return [] if found.settled else [next_step(call, "get_kyc_status", why, **wait)]


async def _link_to_show(call: ServiceContext, link: str | None) -> str | None:
    """Return the provider's link, exact, or the address of the desk's page that has it; None without a desk.

    Whoever has the provider's link can act in the user's name, so the policy says whether the model gets it.
    """
    state = call.services.state
    if link and state.policy.identity_link_to_model and state.may_show_link(call.user_id, link):
        return link
    return await call.services.desk_pages.identity(call.user_id)


def _why(link: str | None) -> str:
    if link is not None:
        where = "Give the user the verification_link"
    else:
        where = "Tell the user to run machines-mcp desk --open, where the link is"
    return f"{where}; only they can act there. Then wait for the check."
