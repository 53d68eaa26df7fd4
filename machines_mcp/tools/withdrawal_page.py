"""What the desk's page of a withdrawal shows and does: the same plans and checks as the tools."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from machines_mcp.desk.withdrawal_pages import SentResult, SignResult, WithdrawalStage, WithdrawalView
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.freeze import Frozen
from machines_mcp.tools.plan_parts import parts_of
from machines_mcp.tools.signed_withdrawal import SignedWithdrawal
from machines_mcp.tools.withdrawal_confirmation import confirmed_transaction
from machines_mcp.tools.withdrawal_plans import WithdrawalPlans

if TYPE_CHECKING:
    from machines_mcp.chain.plan import Plan
    from machines_mcp.chain.solana_plan import SolanaPlan

RECEIPT_SECONDS = 20.0
_NO_SIGNATURE = "The wallet returned no signature. Try again."
_NO_HASH = "The wallet returned no transaction hash. See in the wallet whether it sent the transaction."
_DONE = "The withdrawal is done. Its receipt shows that exactly this amount went to this recipient."
_FROZEN = "Changes are frozen, so no transaction is given. Lift the freeze first."
_GONE = "There is no such withdrawal."
_NO_NODE = "The transaction is recorded. This server has no node of the chain, so it can't tell whether it is mined."
_NETWORKS = {
    1: "Ethereum",
    137: "Polygon",
    900: "Solana",
    901: "Solana Devnet",
    8453: "Base",
    80002: "Polygon Amoy",
    84532: "Base Sepolia",
    11155111: "Ethereum Sepolia",
}
"""By the API's chain id, as wallets call them."""
_EXPIRED = "The signature of Machines has expired. Unless the wallet sent the transaction before, nothing moved."


class WithdrawalPageService:
    """Implements `WithdrawalPages`. It raises nothing: errors become sentences."""

    def __init__(self, plans: WithdrawalPlans) -> None:
        self._plans = plans

    async def view(self, withdrawal_id: str) -> WithdrawalView | None:
        """Return the withdrawal with its plan; None if there is none whose approval was used."""
        found = await self._find(withdrawal_id)
        if found is None or found.started.approval_id is None or not await self._plans.is_consumed(found.started):
            return None
        state = found.transaction.state
        if state == "done":
            return self._view(found, "done", _DONE)
        sent = "" if await self._plans.has_node(found) else _NO_NODE
        if not self._plans.is_alive(found):
            return self._view(found, "sent", sent) if state == "sent" else self._view(found, "expired", _EXPIRED)
        try:
            plan = await self._plans.plan(found)
        except Frozen:
            return self._view(found, "sent" if state == "sent" else "blocked", _FROZEN)
        except ToolError as error:
            if state == "sent":
                return self._view(found, "sent", sent)
            return self._view(found, "expired" if error.code is Code.WITHDRAWAL_EXPIRED else "blocked", error.message)
        return self._planned(found, plan, sent)

    async def sign(self, withdrawal_id: str, signature: str) -> SignResult:
        """Return the transaction if the signature is the sender's."""
        if not re.fullmatch("0x(?:[0-9a-fA-F]{2}){1,2048}", signature):
            return SignResult(message=_NO_SIGNATURE)
        found = await self._find(withdrawal_id)
        if found is None:
            return SignResult(message=_GONE)
        try:
            plan = await self._plans.plan(found, signature=bytes.fromhex(signature[2:]))
        except Frozen:
            return SignResult(message=_FROZEN)
        except ToolError as error:
            return SignResult(message=_sentence(error))
        return SignResult(parts_of(plan).transaction)

    async def sent(self, withdrawal_id: str, transaction_hash: str) -> SentResult:
        """Record a transaction and look for its receipt, for at most 20 seconds."""
        if not re.fullmatch("0x[0-9a-fA-F]{64}|[1-9A-HJ-NP-Za-km-z]{64,90}", transaction_hash):
            return SentResult("send", _NO_HASH)
        found = await self._find(withdrawal_id)
        if found is None:
            return SentResult("blocked", _GONE)
        try:
            confirmed = await confirmed_transaction(
                self._plans, found, Verbatim(transaction_hash), seconds=RECEIPT_SECONDS
            )
        except ToolError as error:
            stage: WithdrawalStage = "expired" if error.code is Code.WITHDRAWAL_EXPIRED else "send"
            stage = "sent" if error.code is Code.CHAIN_UNAVAILABLE else stage
            return SentResult(stage, _sentence(error))
        return SentResult(confirmed.stage, _DONE if confirmed.stage == "done" else confirmed.note)

    async def _find(self, withdrawal_id: str) -> SignedWithdrawal | None:
        try:
            return await self._plans.find(None, withdrawal_id)
        except ToolError:
            return None

    def _planned(self, found: SignedWithdrawal, plan: Plan | SolanaPlan, when_sent: str) -> WithdrawalView:
        order = plan.order
        parts = parts_of(plan)
        sent = found.transaction.state == "sent" and parts.stage == "send"
        rows = (
            ("Network", _network(order.chain_id)),
            ("Contract", order.target),
            ("Collateral", order.collateral),
            ("Token", order.token),
            ("Amount in units of the token", str(order.amount)),
            ("Sending wallet", plan.sender),
            *((("Paid to the exchange at", order.recipient),) if self._relayed(found, order.recipient) else ()),
        )
        return self._view(
            found,
            "sent" if sent else parts.stage,
            when_sent if sent else "",
            rows=rows,
            sender=plan.sender,
            chain_id=order.chain_id,
            typed_data=parts.typed_data,
            transaction=parts.transaction,
            transaction_base64=parts.transaction_base64,
        )

    def _relayed(self, found: SignedWithdrawal, recipient: str) -> bool:
        return found.answer.get("relay") is not None and recipient != found.started.quote.terms["address"]

    def _view(
        self,
        found: SignedWithdrawal,
        stage: WithdrawalStage,
        message: str = "",
        rows: tuple[tuple[str, str], ...] = (),
        **parts: Any,
    ) -> WithdrawalView:
        return WithdrawalView(
            approval_id=found.started.approval_id or "",
            stage=stage,
            rows=rows,
            expires_at=found.transaction.expires_at,
            message=message,
            transaction_hash=found.transaction.hash,
            **{"chain_id": found.chain_id} | parts,
        )


def _network(chain_id: int) -> str:
    return f"{_NETWORKS[chain_id]} ({chain_id})" if chain_id in _NETWORKS else f"chain {chain_id}"


def _sentence(error: ToolError) -> str:
    """Return the error for a person: its message, or else the rule of its field."""
    return f"It {error.fields[0].rule}." if error.fields else error.message
