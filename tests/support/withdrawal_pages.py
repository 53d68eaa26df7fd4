"""Withdrawals for the desk's page: planned by the product without a node, signed by an account of the test."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from machines_mcp.chain.checks import PlanRequest
from machines_mcp.chain.faults import ChainFault, WrongSignature
from machines_mcp.chain.plan import Plan, make_plan
from machines_mcp.chain.terms import Approved
from machines_mcp.desk.withdrawal_pages import SentResult, SignResult, WithdrawalView
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.storage.withdrawals import Destination
from tests.chain.answers import CHAIN, RECIPIENT, TARGET, TOKEN, answer, parameters
from tests.support.clock import Clock
from tests.support.running_desk import RunningDesk
from tests.support.wallets import wallet

WITHDRAWAL_ID = f"wd_{'0123456789abcdef' * 2}"
PATH = f"/withdrawals/{WITHDRAWAL_ID}"
CENTS, NONCE, SALT = 10_050, 3, b"\xaa" * 32
ADMIN, STRANGER = wallet(75), wallet(92)
HASH = f"0x{'ab' * 32}"


def details() -> ApprovalDetails:
    """Return what a person approved."""
    return ApprovalDetails(
        question="Withdraw $100.50 to this address?",
        items=(
            Detail("User", "user_7Qm2cT9"),
            Detail("Amount", "$100.50"),
            Detail("Currency", "rusd"),
            Detail("Network", "base"),
            Detail("Address", RECIPIENT, "the first withdrawal to this destination"),
            Detail("Sending wallet", ADMIN.address),
            Detail("Arrives", "about 100.50 rusd", "an estimate"),
        ),
        context=(Detail("Balance", "$402.75, $302.25 afterwards"), Detail("Earlier withdrawals here", "none")),
        amount_cents=CENTS,
        destination=Destination("rusd", "base", RECIPIENT),
    )


async def approved(desk: RunningDesk, *, consumed: bool = True, status: str = "ready") -> str:
    """Open an approval of the withdrawal, grant it, use it, and return its id. `status`: what the API answered."""
    given: dict[str, Any] = {"asked_by": "Claude Desktop 1.9.2", "user_id": "user_7Qm2cT9", "digest": "wd"}
    approval = await desk.ask(details=details(), **given)
    assert await desk.guard.approvals.grant(approval.id, "desk")
    if consumed:
        await desk.guard.approvals.consume(approval)
        outcome = json.dumps({"withdrawal_id": WITHDRAWAL_ID, "status": status})
        await desk.guard.approvals.finish(approval.id, outcome, ok=True, code="ok")
    return approval.id


@dataclass
class PlannedWithdrawals:
    """One withdrawal of a call path. `view_changes` replace fields of its view, `reports` the results of hashes."""

    clock: Clock
    path: str = "coordinator_v2"
    seconds: int = 25 * 60
    approval_id: str = ""
    view_changes: dict[str, Any] = field(default_factory=dict)
    reports: list[SentResult] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    expires_at: int = 0

    def __post_init__(self) -> None:
        self.expires_at = int(self.clock()) + self.seconds

    async def plan(self, signature: bytes | None = None) -> Plan:
        """Return the product's plan without a node."""
        stored = answer(self.path, parameters=parameters(p4=self.expires_at), expires_at=self.expires_at)
        terms = Approved(
            amount_cents=CENTS, currency="rusd", network="base", address=RECIPIENT, admin_address=ADMIN.address
        )
        request = PlanRequest(
            answer=stored,
            approved=terms,
            consumed=True,
            now=self.clock(),
            known=None,
            production=False,
            given_nonce=NONCE if self.path == "coordinator_v2" else None,
            signature=signature,
        )

        async def salt_for(nonce: int) -> bytes:
            return SALT

        return await make_plan(request, None, salt_for)

    async def view(self, withdrawal_id: str) -> WithdrawalView | None:
        if withdrawal_id != WITHDRAWAL_ID:
            return None
        plan = await self.plan()
        shown = WithdrawalView(
            approval_id=self.approval_id,
            stage=plan.stage,
            rows=(
                ("Network", f"Base Sepolia ({CHAIN})"),
                ("Contract", TARGET),
                ("Collateral", plan.order.collateral),
                ("Token", TOKEN),
                ("Amount in units of the token", str(plan.order.amount)),
                ("Sending wallet", plan.sender),
            ),
            expires_at=self.expires_at,
            chain_id=CHAIN,
            sender=plan.sender,
            typed_data=plan.typed_data,
            transaction=plan.transaction,
        )
        return replace(shown, **self.view_changes)

    async def sign(self, withdrawal_id: str, signature: str) -> SignResult:
        self.signatures.append(signature)
        if not re.fullmatch("0x([0-9a-f]{2})+", signature):
            return SignResult(message="This is not a signature. Sign again in the wallet.")
        try:
            plan = await self.plan(bytes.fromhex(signature[2:]))
        except WrongSignature:
            return SignResult(message="Another account signed this. Choose the sending account in the wallet.")
        except ChainFault:
            return SignResult(message="This withdrawal has expired. Nothing was sent.")
        return SignResult(transaction=plan.transaction)

    async def sent(self, withdrawal_id: str, transaction_hash: str) -> SentResult:
        self.hashes.append(transaction_hash)
        if self.reports:
            result = self.reports.pop(0)
        elif re.fullmatch("0x[0-9a-f]{64}", transaction_hash):
            result = SentResult("done", "The transaction is in block 7. $100.50 was sent.")
        else:
            return SentResult("send", "This is not a transaction hash. Copy it from the wallet.")
        if result.stage in ("sent", "done"):
            known = {"stage": result.stage, "message": result.message, "transaction_hash": transaction_hash}
            self.view_changes |= {**known, "typed_data": None, "transaction": None}
        return result
