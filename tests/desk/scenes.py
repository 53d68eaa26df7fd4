"""A desk with waiting approvals of every kind, two weeks of history, and a daily limit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from machines_mcp.desk.locked_cards import LockedCard
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.permissions.policy import Limits, default_policy
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.tools.example_identity import IDENTITY
from machines_mcp.tools.kyc_arguments import SubmitKyc, masked_identity
from tests.support.clock import Clock
from tests.support.running_desk import RunningDesk, identity_form, running_desk, withdrawal
from tests.support.withdrawal_pages import PlannedWithdrawals

USER, OTHER_USER = "user_7Qm2cT9", "user_4Kd8wBz"
CAP_CENTS = 50_000
_PAID = (12_000, 0, 31_050, 8_400, 44_900, 0, 0, 20_000, 2_575, 39_900, 0, 17_250, 26_000, 9_900)
_DAY = 24 * 60 * 60
STARTED = 1_799_852_400.0 - 13 * _DAY


def items(*more: Detail) -> tuple[Detail, ...]:
    return (Detail("User", USER), *more)


def reveal() -> ApprovalDetails:
    return ApprovalDetails(
        question="Show the card ending 4821?",
        items=items(
            Detail("Card", "ending 4821"),
            Detail("Status", "active"),
            Detail("Limit", "$150.00 per 30 days"),
            Detail("Label", "Groceries", by="agent"),
            Detail("Where", "You see it once, on a page on this computer"),
            Detail("Card id", "7c1f0a52-93d4-4c0b-8a6e-5b2d1f7e9a30"),
        ),
        sink="page",
        only="page",
    )


def change() -> ApprovalDetails:
    """Return the details of a card that is unlocked with a higher limit."""
    change = "unlock it and change its limit from $50.00 per 30 days to $100.00 per week"
    return ApprovalDetails(
        question=f"The card ending 7730: {change}?",
        items=items(
            Detail("Card", "ending 7730"),
            Detail("Status", "locked → active", before="locked"),
            Detail("Limit", "$50.00 per 30 days → $100.00 per week", before="$50.00 per 30 days"),
            Detail("Label", "Travel", by="machines"),
            Detail("Card id", "2b9e4d17-60aa-4f0e-9c35-d81c7e0b4a66"),
        ),
    )


def identity_data() -> ApprovalDetails:
    """Return the details of identity data that the assistant sent."""
    applicant = SubmitKyc.model_validate({"user_id": USER, **IDENTITY})
    names = ", ".join(name.replace("_", " ") for name in applicant.identity_data)
    return ApprovalDetails(
        question=f"Send the user's identity data ({len(IDENTITY)} fields) to Machines for the check?",
        items=items(Detail("Data sent", names)),
        identity=masked_identity(applicant),
    )


def closing() -> ApprovalDetails:
    """Return the details of a card that is closed for good."""
    return ApprovalDetails(
        question="Permanently close the card ending 8422?",
        items=(
            Detail("User", OTHER_USER),
            Detail("Card", "ending 8422", "can't be undone"),
            Detail("Status", "active"),
            Detail("Limit", "$20.00 per month"),
            Detail("Label", "Tr\u0430vel", "unusual characters: read the label letter by letter", by="machines"),
            Detail("Card id", "90d1c2f4-1f6e-4c35-8f54-2a7b9be0a1c7"),
        ),
    )


def agreements() -> ApprovalDetails:
    """Return the details of agreements with a document each."""
    texts = ("I accept the terms of the card.", "I agree to receive notices electronically.")
    names = ("Cardholder terms", "Electronic consent")
    return ApprovalDetails(
        question="Accept 2 agreements for the user? The whole text of each is below.",
        items=items(
            *(
                row
                for text, name in zip(texts, names, strict=True)
                for row in (
                    Detail("Agreement", text),
                    Detail("Document", name, url=f"https://machines.example/legal/{name.lower().replace(' ', '-')}"),
                )
            )
        ),
    )


def card() -> ApprovalDetails:
    limit = "a limit of $150.00 per 30 days"
    question = f"Issue a virtual card with {limit}?"
    return ApprovalDetails(
        question=question,
        items=items(Detail("Limit", limit.removeprefix("a limit of ")), Detail("Label", "Groceries", by="agent")),
    )


@dataclass
class CardsOfTheAgent:
    """Cards that the agent locked. They stay locked."""

    at: float

    async def count(self) -> int:
        return len(await self.shown())

    async def shown(self) -> list[LockedCard]:
        number = ("4821", "7730", "8422")
        limits = ("$150.00 per 30 days", "$50.00 per 30 days", "$20.00 per week")
        labels = (
            Detail("Label", "Groceries", by="agent"),
            Detail("Label", "Travel", by="machines"),
            Detail("Label", "Tr\u0430vel", "unusual characters: read the label letter by letter", by="agent"),
        )
        found = [
            LockedCard(
                f"{place:032x}",
                USER,
                self.at - 90 * place,
                (Detail("Card", f"ending {number[place]}"), Detail("Limit", limits[place]), labels[place]),
                "0" * 64,
            )
            for place in range(len(number))
        ]
        return [*found, LockedCard(f"{9:032x}", OTHER_USER, self.at - 900, problem="Machines can't be reached now.")]

    async def unlock(self, ticked: Mapping[str, str]) -> list[str]:
        return [f"{len(ticked)} cards unlocked."]


@asynccontextmanager
async def busy_desk(
    folder: Path, environment: str = "sandbox", *, withdrawals: PlannedWithdrawals | None = None
) -> AsyncIterator[RunningDesk]:
    """Run the desk with a stopped clock, that of the `withdrawals` if there are any."""
    clock = Clock() if withdrawals is None else withdrawals.clock
    clock.now = STARTED
    policy = replace(
        default_policy(environment, read_only=False),
        source="/etc/machines/policy.toml",
        limits=Limits(unbounded_cards=True, per_day_cents=CAP_CENTS, per_call_cents=45_000),
    )
    async with running_desk(
        folder,
        environment,
        policy=policy,
        clock=clock,
        withdrawals=withdrawals,
        locked_cards=CardsOfTheAgent(STARTED + 13 * _DAY),
    ) as desk:
        for number, cents in enumerate(_PAID):
            if cents:
                await _paid(desk, cents, number)
            clock.advance(_DAY if number < len(_PAID) - 1 else 60)
        await _alarms(desk)
        await desk.guard.known_users.succeeded(USER, changed=True)
        yield desk


async def waiting(desk: RunningDesk) -> dict[str, Approval]:
    """Open one approval of every kind and return them by name."""
    agent: dict[str, Any] = {"asked_by": "Claude Desktop 1.9.2", "user_id": USER}
    items_of = items(
        Detail("Amount", "$120.50"),
        Detail("Currency", "usdc"),
        Detail("Network", "base"),
        Detail("Address", "0x52908400098527886E0F7030069857D2E4169EE7", "the first withdrawal to this destination"),
        Detail("Sending wallet", "0x8617E340B3D01FA5F11F306F4090FD50E238070D"),
        Detail("Arrives", "about 119.84 usdc", "an estimate"),
    )
    question = "Withdraw $120.50 to this address?"
    context = (
        Detail("Balance", "$402.75, $282.25 afterwards"),
        Detail("Earlier withdrawals here", "none"),
        Detail(
            "Largest earlier withdrawal",
            "$44.90",
            "large for this user: more than twice the largest earlier withdrawal",
        ),
    )
    closed = await desk.ask(
        ActionClass.DESTROY, closing(), tool="close_card", digest="x", **agent | {"user_id": OTHER_USER}
    )
    consent = await desk.ask(ActionClass.CONSENT, agreements(), tool="accept_agreements", digest="a", **agent)
    desk.clock.advance(35)
    form = replace(
        identity_form(),
        question="Fill in the user's identity form and send it to Machines?",
        items=items(),
    )
    identity = await desk.ask(ActionClass.IDENTITY, form, tool="submit_kyc", digest="k", **agent)
    desk.clock.advance(20)
    issued = await desk.ask(ActionClass.MONEY, card(), tool="create_card", digest="c", **agent)
    shown = await desk.ask(ActionClass.REVEAL, reveal(), tool="reveal_card", digest="r", **agent)
    changed = await desk.ask(ActionClass.MONEY, change(), tool="update_card", digest="u", **agent)
    person = await desk.ask(ActionClass.IDENTITY, identity_data(), tool="submit_kyc", digest="p", **agent)
    desk.clock.advance(20)
    details = withdrawal(items=items_of, question=question, context=context)
    money = await desk.ask(details=details, **agent)
    desk.clock.advance(60)
    return {
        "money": money,
        "close": closed,
        "consent": consent,
        "identity": identity,
        "card": issued,
        "reveal": shown,
        "change": changed,
        "person": person,
    }


async def _paid(desk: RunningDesk, cents: int, number: int) -> None:
    approvals = desk.guard.approvals
    more: dict[str, Any] = {"asked_by": "Claude Desktop 1.9.2", "user_id": USER, "digest": f"paid-{number}"}
    approval = await desk.ask(details=withdrawal(cents), **more)
    await approvals.grant(approval.id, "terminal" if number % 3 else "desk")
    await approvals.consume(approval)
    desk.clock.advance(2)
    await approvals.finish(approval.id, "{}", ok=True, code="ok")


async def _alarms(desk: RunningDesk) -> None:
    audit, approvals = desk.guard.audit, desk.guard.approvals
    refused = await desk.ask(details=withdrawal(30_000), user_id=USER, digest="no", asked_by="Claude Desktop 1.9.2")
    await approvals.refuse(refused.id, "desk")
    broken = await desk.ask(
        ActionClass.MONEY, card(), tool="create_card", digest="b", user_id=USER, asked_by="codex 0.60"
    )
    await approvals.grant(broken.id, "dialog")
    await approvals.consume(broken)
    error = ToolError(Code.AGREEMENTS_NOT_ACCEPTED)
    await approvals.finish(broken.id, json.dumps(error.payload()), ok=False, code=error.code.value)
    for tool, code in (("get_balances", "ok"), ("list_cards", "ok"), ("close_card", "policy.denied")):
        action_class = "destroy" if tool == "close_card" else "read"
        await audit.append(AuditEntry(kind="call", tool=tool, action_class=action_class, user_id=USER, code=code))
    await audit.append(AuditEntry(kind="alarm", code="output_filter.exact"))
    desk.clock.advance(600)
