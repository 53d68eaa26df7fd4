"""Steps 13 to 15: reveal a card, which the vault fetches and decrypts out of reach of this process and the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PrivateAttr

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Detail, seen_digest
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.policy import Policy
from machines_mcp.protocol.approval_errors import limit_exceeded
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.tool import NotExecuted, Output, Reconciliation, tool
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.redaction.sink import Sink
from machines_mcp.redaction.verbatim import Identifier
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.card_approvals import CardInput, card_rows, require_open
from machines_mcp.tools.services import PageOutcome, Revealed, ServiceContext, next_step, user_detail

if TYPE_CHECKING:
    from machines_mcp.partner import Card

# Descriptions of the sinks for the model.
_SINKS: dict[Sink, str] = {
    "none": "only check that it decrypts",
    "page": "show the number to the user on this machine",
    "sealed": "encrypt it to the operator's key",
    "model": "return it to you; requires approval",
}

_STATUS: dict[Sink, Literal["verified", "shown", "sealed", "released"]] = {
    "none": "verified",
    "page": "shown",
    "sealed": "sealed",
    "model": "released",
}
_SHOWN: dict[Sink, Literal["nowhere", "page", "model"]] = {
    "none": "nowhere",
    "page": "page",
    "sealed": "nowhere",
    "model": "model",
}
# Used in the summary sentence.
_RESULT_WORDS = {
    "verified": "decrypted and verified, but not shown",
    "shown": "shown to a person on a page",
    "sealed": "encrypted to the operator's key",
    "released": "returned in this response",
}
# The effect of approving as a sentence for the person, and the policy settings a sink needs, for the operator.
_WHO_SEES_IT: dict[Sink, str] = {
    "none": "Nobody sees it",
    "page": "You see it once, on a page on this computer",
    "sealed": "Only the holder of the operator's private key can read it",
    "model": "THE AI AND ITS PROVIDER WILL SEE IT, and may keep it",
}
_POLICY_REQUIREMENTS: dict[Sink, str] = {
    "none": "",
    "page": "page in reveal.sinks",
    "sealed": "sealed in reveal.sinks, and reveal.sealed_key",
    "model": "model in reveal.sinks, and reveal.model",
}


class RevealCard(CardInput):
    sink: Sink = Field(default="none", description="Where the card goes")


class CardRevealed(Output):
    card_id: Identifier
    status: Literal["verified", "shown", "sealed", "released"]
    shown: Literal["nowhere", "page", "model"] = Field(description="Where")
    brand: ForeignText | None = None
    last4: str = Field(pattern=r"^[0-9]{4}$")
    expiration_month: int
    expiration_year: int
    _secret: dict[str, str] = PrivateAttr(default_factory=dict)

    def ephemeral(self) -> dict[str, str]:
        """Return the sealed or plaintext card, for this response only."""
        return self._secret

    def summary(self) -> str:
        return f"The card ending {self.last4} was {_RESULT_WORDS[self.status]}."


def _action_class(args: RevealCard) -> ActionClass:
    # Sink `none` shows the card to nobody, so it counts as a read.
    return ActionClass.READ if args.sink == "none" else ActionClass.REVEAL


def _allowed_sinks(policy: Policy) -> dict[str, str]:
    return {sink: meaning for sink, meaning in _SINKS.items() if sink in policy.sinks}


async def _approval_details(call: ServiceContext, args: RevealCard) -> ApprovalDetails:
    _require_sink(call, args)
    card, rows = await card_rows(call, args)
    require_open(card)
    last4 = _readable_last4(card)
    where, key = _WHO_SEES_IT[args.sink], call.services.state.policy.sealed_key
    if args.sink == "model":
        where += ", including the CVC" if call.services.state.policy.reveal_model_cvc else ", without the CVC"
    if args.sink == "sealed" and key is not None:
        where += f", whose public key has the thumbprint {key.thumbprint}"
    ask = "Give the AI the number of the card" if args.sink == "model" else "Show the card"
    return ApprovalDetails(
        question=f"{ask} ending {last4}? {where}.",
        items=(user_detail(call), Detail("Card", f"ending {last4}"), *rows, Detail("Where", where)),
        card_id=args.card_id,
        sink=args.sink,
        only="page" if args.sink == "page" else None,
        seen=seen_digest(last4),
    )


async def _open_page(call: ServiceContext, args: RevealCard, approval: Approval) -> str:
    """Start the vault's page, which asks the person and shows the card, and return its address."""
    await call.services.state.guard.freezes.refuse(call.user_id)
    return await call.services.reveals.page(
        approval, await _last4(call, args), lambda found: _page_outcome(call, args, found)
    )


async def _reconcile(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Report it as not done: a reveal changes nothing at Machines and can be requested again."""
    return NotExecuted("The reveal was interrupted. No AI has seen the card; a person may have, if it was for them.")


@tool(
    title="Reveal a card",
    toolset="cards",
    steps=(13, 14, 15),
    action_class=(ActionClass.READ, ActionClass.REVEAL),
    action_class_of=_action_class,
    approval_details=_approval_details,
    described=("user_id", "sink"),
    approval_page=_open_page,
    reconcile=_reconcile,
    allowed_values=lambda policy: {"sink": _allowed_sinks(policy)},
    idempotent=True,
)
async def reveal_card(call: ServiceContext, args: RevealCard) -> CardRevealed:
    """Reveal a card: a separate process decrypts and verifies its number and CVC; sink page shows them to the user. You
    get brand, last four digits and expiry. This is intended: do not try to get the number another way."""
    _require_sink(call, args)
    if args.sink == "page":
        # The page itself runs an approved reveal, so this call can only be here if the page is gone.
        raise ToolError(Code.REVEAL_FAILED, details={"reason": "page.gone"})
    if args.sink == "none":
        await _admit(call, args)
    return _result(
        call, args, await call.services.reveals.reveal(call.user_id, args.card_id, await _last4(call, args), args.sink)
    )


async def _admit(call: ServiceContext, args: RevealCard) -> None:
    """Count a reveal that shows the card to no one. Other reveals are counted by their approval."""
    request = CallRequest("reveal_card", ActionClass.READ, call.user_id, "")
    details = ApprovalDetails(question="", card_id=args.card_id, sink=args.sink)
    try:
        await call.services.state.guard.approvals.admit(request, details)
    except LimitExceeded as exceeded:
        raise limit_exceeded(exceeded) from None


def _require_sink(call: ServiceContext, args: RevealCard) -> None:
    if args.sink not in call.services.state.policy.sinks:
        missing = _POLICY_REQUIREMENTS[args.sink]
        message = f"The operator's policy does not allow sink {args.sink}. The policy would need {missing}."
        raise ToolError(Code.POLICY_DENIED, message=message, details={"limit": "reveal.sinks"})


async def _last4(call: ServiceContext, args: RevealCard) -> str:
    client = await call.services.partner.client(call.logged_as)
    return _readable_last4(await client.cards.get(call.user_id, args.card_id))


def _readable_last4(card: Card) -> str:
    """Return the digits that the vault compares with the decrypted number: without them, no card is revealed."""
    if card.last4 is None:
        raise ToolError(Code.PARTNER_MALFORMED)
    return card.last4


def _page_outcome(call: ServiceContext, args: RevealCard, found: Revealed) -> PageOutcome:
    try:
        return PageOutcome(_result(call, args, found).model_dump(mode="json", exclude_none=True), ok=True, code="ok")
    except ToolError as tool_error:
        return PageOutcome(tool_error.payload(), ok=False, code=tool_error.code.value)


def _result(call: ServiceContext, args: RevealCard, found: Revealed) -> CardRevealed:
    if not found.ok or found.last4 is None or found.expiration_month is None or found.expiration_year is None:
        raise _reveal_error(found.code)
    result = CardRevealed(
        card_id=args.card_id,
        status=_STATUS[args.sink],
        shown=_SHOWN[args.sink],
        brand=ForeignText.of(found.brand, 20),
        last4=found.last4,
        expiration_month=found.expiration_month,
        expiration_year=found.expiration_year,
        next_steps=[next_step(call, "list_transactions", "See what is spent with this card.", card_id=args.card_id)],
    )
    secrets = {"pan": found.pan, "cvc": found.cvc}
    result._secret = {name: secret.expose() for name, secret in secrets.items() if secret is not None}
    if found.jwe is not None:
        result._secret["jwe"] = found.jwe
    return result


def _reveal_error(code: str) -> ToolError:
    step = NextStep("list_cards", "See whether the card still exists and is active.")
    # These codes don't tell how far the page got.
    seen = code in ("deadline", "vault.protocol", "internal")
    message = "The reveal was interrupted, and the card may have been shown. The AI has not seen it." if seen else None
    return ToolError(Code.REVEAL_FAILED, message=message, details={"reason": code}, next_steps=[step])
