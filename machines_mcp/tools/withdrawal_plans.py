"""Plans of signed withdrawals, and what became of them on chain. One place for the tools, the page and the command."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from machines_mcp.chain.faults import ChainFault
from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError
from machines_mcp.storage.transactions import Transactions
from machines_mcp.storage.withdrawals import StartedWithdrawal, Withdrawals
from machines_mcp.tools.chain_errors import chain_error, not_ready
from machines_mcp.tools.signed_withdrawal import SOLANA_PATH, UNSIGNED_PATH, SignedWithdrawal

if TYPE_CHECKING:
    from machines_mcp.chain.checks import PlanRequest
    from machines_mcp.chain.plan import Plan
    from machines_mcp.chain.receipts import Confirmation
    from machines_mcp.chain.rpc import EvmRpc
    from machines_mcp.chain.solana_plan import SolanaPlan
    from machines_mcp.chain.solana_rpc import SolanaRpc
    from machines_mcp.chain.terms import KnownChain
    from machines_mcp.permissions.factory import Guard

_NOT_HERE = "is not taken for this withdrawal; leave it out"


class Nodes(Protocol):
    """The nodes of chains, and what the embedded simulator says of its own chains."""

    async def evm(self, chain_id: int) -> EvmRpc | None:
        """Return the node of an EVM chain, or None."""

    async def solana(self, chain_id: int) -> SolanaRpc | None:
        """Return the node of a Solana cluster, or None."""

    async def known(self, chain_id: int) -> KnownChain | None:
        """Return the contracts and tokens of a chain of the embedded simulator, or None."""


class WithdrawalPlans:
    """The plans of the withdrawals of one state folder."""

    def __init__(
        self,
        guard: Guard,
        withdrawals: Withdrawals,
        transactions: Transactions,
        nodes: Nodes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._guard = guard
        self._withdrawals = withdrawals
        self.transactions = transactions
        self._nodes = nodes
        self._clock = clock

    async def find(self, user_id: str | None, withdrawal_id: str) -> SignedWithdrawal:
        """Return a withdrawal. `user_id`: whose it must be; None for any user of this server.

        Raises:
            ToolError: `not_found`, or `withdrawal.not_ready`: Machines has not signed it.
        """
        started = await self._withdrawals.find(withdrawal_id)
        if started is None or not self._is_of(started, user_id) or started.status in ("rejected", "not_begun"):
            raise ToolError(
                Code.NOT_FOUND, next_steps=[NextStep("list_withdrawals", "See the withdrawals and their ids.")]
            )
        if started.answer is None or started.status != "ready":
            raise not_ready(started)
        kept = await self.transactions.find(withdrawal_id)
        return SignedWithdrawal(started, kept or await self.transactions.begin(withdrawal_id, _expiry(started)))

    async def plan(
        self, found: SignedWithdrawal, *, given_nonce: int | None = None, signature: bytes | None = None
    ) -> Plan | SolanaPlan:
        """Return the plan, if it passes every check. The admin's signature is kept for the next plan.

        Raises:
            ToolError: There is no plan.
            Frozen: Changes of the user are frozen, so nothing that would move money is handed out.
        """
        await self._guard.freezes.refuse(found.started.quote.user_id)
        try:
            if found.path == SOLANA_PATH:
                return await self._solana_plan(found, given_nonce, signature)
            return await self._evm_plan(found, given_nonce, signature)
        except ChainFault as fault:
            raise chain_error(fault, found, has_node=await self.has_node(found)) from None

    async def confirm(self, found: SignedWithdrawal, transaction_hash: str) -> Confirmation | None:
        """Compare a sent transaction with the withdrawal; None if no node is set, so that nothing can be compared.

        Raises:
            ToolError: The node can't be used, or the withdrawal can't be read.
        """
        import anyio.to_thread

        from machines_mcp.chain.order import read_order

        try:
            order = await anyio.to_thread.run_sync(partial(read_order, found.answer))
            sender = found.transaction.sender or found.started.quote.terms["admin_address"] or ""
            if found.path == SOLANA_PATH:
                from machines_mcp.chain.solana_plan import confirm_solana

                solana = await self._nodes.solana(order.chain_id)
                return None if solana is None else await confirm_solana(order, sender, solana, transaction_hash)
            from machines_mcp.chain.receipts import confirm

            node = await self._nodes.evm(order.chain_id)
            if node is None:
                return None
            kept = found.transaction
            both = kept.salt is not None and kept.admin_signature is not None
            return await confirm(
                order,
                sender,
                node,
                transaction_hash,
                salts=(kept.salt,) if both and kept.salt else (),
                signatures=(kept.admin_signature,) if both and kept.admin_signature else (),
                nonce=kept.nonce,
            )
        except ChainFault as fault:
            has_node = await self.has_node(found)
            raise chain_error(fault, found, has_node=has_node, confirms=True) from None

    def is_alive(self, found: SignedWithdrawal) -> bool:
        """Whether the signature of Machines is still valid."""
        return self._clock() < found.transaction.expires_at

    def seconds_left(self, found: SignedWithdrawal) -> int:
        """Return for how many whole seconds the signature of Machines is still valid."""
        return max(0, int(found.transaction.expires_at - self._clock()))

    def _is_of(self, started: StartedWithdrawal, user_id: str | None) -> bool:
        owner = started.quote.user_id
        principal = self._guard.principal
        return owner == user_id if user_id is not None else principal.may_act_for(owner)

    async def _evm_plan(self, found: SignedWithdrawal, given_nonce: int | None, signature: bytes | None) -> Plan:
        from machines_mcp.chain.extras import plans_evm
        from machines_mcp.chain.plan import make_plan

        _require(plans_evm(), "chain")
        node = None if found.chain_id is None else await self._nodes.evm(found.chain_id)
        if signature is not None and found.path == UNSIGNED_PATH:
            raise _invalid("admin_signature")
        if given_nonce is not None and node is not None:
            raise _invalid("admin_nonce")
        kept = found.transaction
        # A signature that was given before counts for the nonce that it was made with.
        earlier = kept.admin_signature if given_nonce in (None, kept.nonce) else None
        request = await self._request(found, given_nonce, signature or earlier)
        plan = await make_plan(request, node, partial(self.transactions.salt, found.started.id))
        await self.transactions.planned(found.started.id, plan.sender, plan.nonce, plan.salt, plan.signature)
        return plan

    async def _solana_plan(
        self, found: SignedWithdrawal, given_nonce: int | None, signature: bytes | None
    ) -> SolanaPlan:
        from machines_mcp.chain.extras import plans_solana
        from machines_mcp.chain.solana_plan import make_solana_plan

        _require(plans_solana(), "solana")
        for name, given in (("admin_signature", signature), ("admin_nonce", given_nonce)):
            if given is not None:
                raise _invalid(name)
        node = None if found.chain_id is None else await self._nodes.solana(found.chain_id)
        plan = await make_solana_plan(await self._request(found, None, None), node)
        await self.transactions.planned(found.started.id, plan.sender, plan.nonce)
        return plan

    async def _request(self, found: SignedWithdrawal, given_nonce: int | None, signature: bytes | None) -> PlanRequest:
        from machines_mcp.chain.checks import PlanRequest
        from machines_mcp.chain.terms import Approved

        terms = found.started.quote.terms
        approved = Approved(
            amount_cents=terms["amount_cents"],
            currency=terms["currency"],
            network=terms["network"],
            address=terms["address"],
            extra_id=terms["extra_id"],
            admin_address=terms["admin_address"],
        )
        return PlanRequest(
            answer=found.answer,
            approved=approved,
            consumed=await self.is_consumed(found.started),
            now=self._clock(),
            known=await self._known(found.chain_id),
            production=self._guard.policy.environment == "production",
            given_nonce=given_nonce,
            signature=signature,
            signed_nonce=found.transaction.nonce,
        )

    async def has_node(self, found: SignedWithdrawal) -> bool:
        """Whether a node of the withdrawal's chain is set."""
        if found.chain_id is None:
            return False
        if found.path == SOLANA_PATH:
            return await self._nodes.solana(found.chain_id) is not None
        return await self._nodes.evm(found.chain_id) is not None

    async def is_consumed(self, started: StartedWithdrawal) -> bool:
        """Whether a person granted the approval, and this withdrawal used it."""
        if started.approval_id is None:
            return False
        approval = await self._guard.approvals.get(started.approval_id)
        return approval is not None and approval.state in ("executing", "done")

    async def _known(self, chain_id: int | None) -> KnownChain | None:
        from machines_mcp.chain.terms import KnownChain

        chains = self._guard.policy.chains
        if not chains:
            return None if chain_id is None else await self._nodes.known(chain_id)
        entry = None if chain_id is None else chains.get(chain_id)
        return KnownChain() if entry is None else KnownChain(targets=entry.targets, tokens=entry.tokens)


def _require(installed: bool, extra: str) -> None:
    if not installed:
        raise ToolError(
            Code.WITHDRAWAL_UNSUPPORTED,
            message=f"The transaction can't be prepared, because the extra {extra} is not installed. Tell"
            " the operator.",
        )


def _invalid(name: str) -> ToolError:
    return ToolError(Code.INPUT_INVALID, fields=[FieldError(name, _NOT_HERE)])


def _expiry(started: StartedWithdrawal) -> float:
    """Return when the signature of a stored answer expires; long ago if no time can be read."""
    from machines_mcp import partner

    return partner.Withdrawal.model_validate(started.answer).expiry or 0.0
