"""The transaction of a signed withdrawal: what the wallet signs, then what it sends. The server does neither."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.errors import Code, FieldError, ToolError
from machines_mcp.protocol.tool import NextStepOutput, Output, OutputPart, UserInput, tool
from machines_mcp.redaction.display import dollars
from machines_mcp.redaction.verbatim import AddressOrMemo, Verbatim, VerbatimArgument
from machines_mcp.tools.plan_parts import parts_of
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.signed_withdrawal import SIGNED_PATH, SignedWithdrawal
from machines_mcp.tools.text import clean

if TYPE_CHECKING:
    from machines_mcp.chain.order import Order
    from machines_mcp.chain.plan import Plan
    from machines_mcp.chain.solana_plan import SolanaPlan

Stage = Literal["sign", "send", "sent", "done"]
WithdrawalId = Annotated[Verbatim, VerbatimArgument(pattern=r"^wd_[0-9a-f]{32}$")]
_FUNCTIONS = {"solana_v2_02": "withdraw_single_signer_collateral_asset"}
# What a wallet needs whole: hex and decimal digits.
_EXACT = re.compile(r"0x[0-9a-fA-F]*|[0-9]+")
_UNSENT = "Only if no wallet sent it: have the wallet sign typed_data, then pass its signature as admin_signature."
_NONCES = 2**256
_NONCE_FORM = "must be adminNonce() of the collateral as decimal digits"


class GetWithdrawalTransaction(UserInput):
    withdrawal_id: WithdrawalId = Field(
        description="From create_withdrawal", examples=["the withdrawal_id from create_withdrawal"]
    )
    admin_nonce: Annotated[Verbatim, VerbatimArgument(pattern=r"^[0-9]{1,78}$")] | None = Field(
        default=None, description="If an error asks for it", json_schema_extra={"form": _NONCE_FORM}
    )
    admin_signature: Annotated[Verbatim, VerbatimArgument(pattern=r"^0x(?:[0-9a-fA-F]{2}){1,2048}$")] | None = Field(
        default=None,
        description="The wallet's signature, at stage sign",
        json_schema_extra={"pattern": r"^0x[0-9a-fA-F]{130,4096}$"},
        examples=["0x and the hex digits that the wallet returned"],
    )


class ContractCall(OutputPart):
    """The call of the contract, in words and exact values."""

    path: str
    function: str
    collateral: AddressOrMemo
    token: AddressOrMemo
    amount_base_units: Verbatim
    amount_cents: int
    recipient: AddressOrMemo
    pays_out_to: Verbatim
    currency: str
    network: str

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # The fields name themselves. In `tools/list` they would cost as much as the rest of the tool.
        return {"type": "object"}


class WithdrawalTransaction(Output):
    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    withdrawal_id: Verbatim
    stage: Stage = Field(description="What comes next, or done")
    chain_id: int | None = None
    caip2: str | None = Field(default=None, description="Chain, by CAIP-2")
    sender: Verbatim | None = Field(default=None, alias="from", description="Wallet that sends")
    expires_at: datetime
    seconds_left: int
    call: ContractCall | None = Field(default=None, description="In words and exact values")
    verified: list[str] = Field(default_factory=list, description="Checks that passed")
    not_verified: list[str] = Field(default_factory=list, description="Checks not made")
    typed_data: dict[str, Any] | None = Field(default=None, description="EIP-712, to sign")
    transaction: dict[str, Any] | None = Field(default=None, description="EVM, to send")
    transaction_base64: Verbatim | None = Field(default=None, description="Solana, to sign and send")
    blockhash: Verbatim | None = None
    last_valid_block_height: int | None = Field(default=None, description="Of blockhash")
    transaction_hash: Verbatim | None = None
    block: int | None = Field(default=None, description="Block of the receipt")
    sign_at: Verbatim | None = Field(default=None, description="Page for the user's wallet")

    def summary(self) -> str:
        left = f"{self.seconds_left // 60} min {self.seconds_left % 60} s are left"
        amount = "" if self.call is None else f" of {dollars(self.call.amount_cents)}"
        match self.stage:
            case "sign":
                return f"The withdrawal{amount} waits for the wallet's signature of the typed data; {left}."
            case "send":
                return f"The wallet can send the transaction of the withdrawal{amount}; {left}."
            case "sent":
                return f"The transaction of the withdrawal{amount} was sent and waits for its receipt."
        return f"The withdrawal{amount} is done."


@tool(
    title="Get a withdrawal's transaction",
    toolset="withdrawals",
    action_class=ActionClass.READ,
    idempotent=True,
)
async def get_withdrawal_transaction(call: ServiceContext, args: GetWithdrawalTransaction) -> WithdrawalTransaction:
    """Get a withdrawal's next step for the user's wallet: sign typed_data (for admin_signature), then send transaction.
    Pass both on unchanged. A person can do it at sign_at. Next: confirm_withdrawal."""
    plans = call.services.plans
    found = await plans.find(call.user_id, args.withdrawal_id)
    if found.transaction.state == "done":
        return _output(call, found, "done")
    if found.transaction.state == "sent" and not plans.is_alive(found):
        return _output(call, found, "sent")
    nonce = None if args.admin_nonce is None else int(args.admin_nonce)
    if nonce is not None and nonce >= _NONCES:
        raise ToolError(Code.INPUT_INVALID, fields=[FieldError("admin_nonce", _NONCE_FORM)])
    signature = None if args.admin_signature is None else bytes.fromhex(args.admin_signature[2:])
    try:
        plan = await plans.plan(found, given_nonce=nonce, signature=signature)
    except ToolError:
        if found.transaction.state == "sent" and _is_signed_elsewhere(found, args):
            return _output(call, found, "sent")
        raise
    page = await call.services.desk_pages.withdrawal(found.started.id)
    return planned_output(call, found, plan, page)


def _is_signed_elsewhere(found: SignedWithdrawal, args: GetWithdrawalTransaction) -> bool:
    """Whether a sent transaction, if there is one, was signed elsewhere, so that no plan of it is known."""
    unsigned = found.transaction.admin_signature is None and args.admin_signature is None
    return found.path == SIGNED_PATH and unsigned


def planned_output(
    call: ServiceContext, found: SignedWithdrawal, plan: Plan | SolanaPlan, page: str | None
) -> WithdrawalTransaction:
    """Return the plan as the tool shows it. One that was sent keeps it, in case no wallet sent it after all."""
    parts = parts_of(plan)
    stage: Stage = "sent" if found.transaction.state == "sent" else parts.stage
    return _output(call, found, stage).model_copy(
        update={
            "sender": Verbatim(plan.sender),
            "caip2": caip2(plan.order.chain_id),
            "chain_id": plan.order.chain_id,
            "call": _call(found, plan.order),
            "verified": list(plan.verified),
            "not_verified": list(plan.not_verified),
            "typed_data": None if parts.typed_data is None else exact(parts.typed_data),
            "transaction": None if parts.transaction is None else exact(parts.transaction),
            "transaction_base64": _verbatim(parts.transaction_base64),
            "blockhash": _verbatim(parts.blockhash),
            "last_valid_block_height": parts.last_valid_block_height,
            "sign_at": _verbatim(page),
        }
    )


def _verbatim(text: str | None) -> Verbatim | None:
    return None if text is None else Verbatim(text)


def exact(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document for a wallet with its numbers and hex as `Verbatim`: one altered character would void it."""
    return {name: _exact(value) for name, value in document.items()}


def _exact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return exact(value)
    if isinstance(value, list):
        return [_exact(each) for each in value]
    return Verbatim(value) if isinstance(value, str) and _EXACT.fullmatch(value) else value


def caip2(chain_id: int) -> str:
    """Return the chain's CAIP-2 id."""
    from machines_mcp.chain.solana_rpc import CAIP2

    return CAIP2.get(chain_id, f"eip155:{chain_id}")


def _call(found: SignedWithdrawal, order: Order) -> ContractCall:
    terms = found.started.quote.terms
    return ContractCall(
        path=order.path,
        function=_FUNCTIONS.get(order.path, "withdrawAsset"),
        collateral=AddressOrMemo(order.collateral),
        token=AddressOrMemo(order.token),
        amount_base_units=Verbatim(order.amount),
        amount_cents=terms["amount_cents"],
        recipient=AddressOrMemo(order.recipient),
        pays_out_to=Verbatim(terms["address"]),
        currency=clean(terms["currency"], 40),
        network=clean(terms["network"], 40),
    )


def _output(call: ServiceContext, found: SignedWithdrawal, stage: Stage) -> WithdrawalTransaction:
    kept, plans = found.transaction, call.services.plans
    return WithdrawalTransaction(
        withdrawal_id=found.started.id,
        stage=stage,
        chain_id=found.chain_id,
        sender=kept.sender,
        expires_at=datetime.fromtimestamp(int(kept.expires_at), UTC),
        seconds_left=plans.seconds_left(found),
        transaction_hash=kept.hash,
        block=kept.block,
        next_steps=_steps(call, found, stage),
    )


def _steps(call: ServiceContext, found: SignedWithdrawal, stage: Stage) -> list[NextStepOutput]:
    known, plans = {"withdrawal_id": found.started.id}, call.services.plans
    if stage == "sign":
        why = "Have the wallet sign typed_data, then pass its signature as admin_signature."
        return [next_step(call, "get_withdrawal_transaction", why, **known)]
    if stage == "done":
        return [next_step(call, "get_balances", "See the remaining balance.")]
    why = "Have the wallet send the transaction, then give its hash as transaction_hash."
    if stage == "sent":
        sent = {"transaction_hash": found.transaction.hash or Verbatim("")}
        confirm = next_step(call, "confirm_withdrawal", "See whether the transaction is mined.", **known, **sent)
        unsigned = found.path == SIGNED_PATH and found.transaction.admin_signature is None and plans.is_alive(found)
        again = next_step(call, "get_withdrawal_transaction", _UNSENT, **known)
        return [confirm, again] if unsigned else [confirm]
    return [next_step(call, "confirm_withdrawal", why, **known)]
