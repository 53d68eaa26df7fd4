"""Every text in an output is of a type that says who wrote it."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.redaction.verbatim import Identifier, Verbatim
from machines_mcp.tools.catalog import TOOLS

FOLLOWED = {
    "DepositOutput.deposit_address, DepositResult.deposit_address": "money is sent there",
    "DepositOutput.memo, DepositResult.memo": "money without it is lost",
    "WithdrawalQuote.address, WithdrawalQuote.extra_id": "the caller's own destination",
    "WithdrawalQuote.admin_address": "the caller's wallet, or the linked one in the form of an EVM address",
    "WithdrawalOutput.address, WithdrawalOutput.extra_id": "the caller's own destination",
    "UserResolved.wallet_address": "money is sent from there",
    "WithdrawalCreated.call_target": "the contract to call",
    "Status.user_id, UserResolved.user_id, UserOutput.user_id": "the caller's own id, which a response must repeat",
    "WithdrawalQuote.quote_id, WithdrawalCreated.withdrawal_id, WaitingApproval.approval_id": "made by this server",
    "WithdrawalOutput.withdrawal_id, UnresolvedItem.approval_id, UnresolvedItem.withdrawal_id": "made by this server",
    "ApprovalCancelled.approval_id, OpenTransaction.withdrawal_id": "made by this server",
    "WithdrawalTransaction.withdrawal_id, WithdrawalConfirmation.withdrawal_id": "made by this server",
    "WithdrawalTransaction.sender, ContractCall.pays_out_to": "the caller's wallet and destination",
    "ContractCall.collateral, ContractCall.token, ContractCall.recipient, ContractCall.amount_base_units": "signed",
    "WithdrawalTransaction.transaction_base64, WithdrawalTransaction.blockhash": "what the wallet signs",
    "WithdrawalTransaction.transaction_hash, WithdrawalConfirmation.transaction_hash": "the caller's own",
    "WithdrawalTransaction.sign_at": "a port of this machine, and our own path",
}
"""Fields that may look like a card number, each with the reason."""
OURS = {
    "KycStatusOutput.meaning, KycStatusOutput.reason, KycSubmitted.meaning": "sentences from lists",
    "KycStatusOutput.status, KycSubmitted.status, UserResolved.kyc_status": "documented, or `unrecognized`",
    "NextStepOutput.tool, NextStepOutput.why, CardOutput.label_from, CardResult.label_from": "constant",
    "Permission.action, Permission.rule, Permission.reason, LimitBudget.limit, Status.policy": "from the policy",
    "Status.simulator_page": "a port of this machine and a constant path",
    "Status.alarms, Status.audit_trouble, Status.frozen, Status.not_listed, Status.other_users": "constant",
    "UnresolvedItem.status, UnresolvedItem.tool, UnresolvedItem.what_to_do, WithdrawalCreated.note": "constant",
    "WithdrawalOutput.status, ApprovalCancelled.status, ApprovalCancelled.tool": "constant",
    "WithdrawalTransaction.caip2, ContractCall.path, ContractCall.function, OpenTransaction.waits_for": "constant",
    "WithdrawalTransaction.verified, WithdrawalTransaction.not_verified": "names of checks",
    "WithdrawalConfirmation.differs, WithdrawalConfirmation.note": "constant",
    "ContractCall.currency, ContractCall.network": "arguments of the quote",
    "WithdrawalOutput.currency, WithdrawalOutput.network": "arguments of the quote",
    "WaitingApproval.tool, WaitingApproval.question": "stored approval details, masked as a whole",
    "DepositQuote.currency, DepositQuote.network, WithdrawalQuote.currency, WithdrawalQuote.network": "arguments",
}
"""Fields with our own words, or with the caller's."""
CODES = {
    "AssetOutput.currency, NetworkOutput.id, Occupation.code": "handed back as an argument; letters, digits, few marks",
    "SessionCreated.scopes": "a part of those that were asked for",
    "AgreementOutput.links, KycStatusOutput.verification_link": "exact or absent",
    "CardOutput.last4, CardResult.last4, CardRevealed.last4": "four digits",
}
"""Fields of Machines with a form of their own."""


def _names(*tables: dict[str, str]) -> set[str]:
    return {name for table in tables for names in table for name in names.split(", ")}


def leaves(model: type[BaseModel]) -> Iterator[tuple[str, str, Any]]:
    """Yield the model, name and type of each text in an output model."""
    for name, field in model.model_fields.items():
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from leaves(kind)
            elif isinstance(kind, type) and issubclass(kind, str):
                yield model.__name__, name, kind


def _kinds(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, types.UnionType, Annotated, list, tuple):
        for part in get_args(annotation):
            yield from _kinds(part)
    else:
        yield annotation


LEAVES = sorted({leaf for tool in TOOLS for leaf in leaves(tool.output_model)}, key=str)


def test_each_text_says_who_wrote_it() -> None:
    plain = {f"{model}.{name}" for model, name, kind in LEAVES if not issubclass(kind, Verbatim | ForeignText)}
    assert plain == _names(OURS, CODES)


def test_only_what_money_follows_or_we_made_may_look_like_a_card_number() -> None:
    exact = {f"{model}.{name}" for model, name, kind in LEAVES if issubclass(kind, Verbatim)}
    ids = {f"{model}.{name}" for model, name, kind in LEAVES if issubclass(kind, Identifier)}
    assert exact - ids == _names(FOLLOWED)
