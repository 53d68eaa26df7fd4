"""What the desk's page of a withdrawal needs from the tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

WITHDRAWAL_ID = "wd_[0-9a-f]{32}"
"""The pattern of a withdrawal's id in the path."""

WithdrawalStage: TypeAlias = Literal["sign", "send", "sent", "done", "expired", "blocked"]
"""`sign`: the typed data waits for a signature. `send`: the transaction waits. `sent`: it waits for its receipt.

`blocked`: no transaction can be made now.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalView:
    """A withdrawal whose approval was used. The page shows the facts of the approval, and these."""

    approval_id: str
    stage: WithdrawalStage
    rows: tuple[tuple[str, str], ...]
    """What the approval doesn't say, as label and value."""
    expires_at: float
    message: str = ""
    """Why it is blocked, or how it ended, in one sentence. If empty, the page has its own words."""
    chain_id: int | None = None
    sender: str | None = None
    """The account that signs and sends."""
    typed_data: Mapping[str, Any] | None = None
    transaction: Mapping[str, Any] | None = None
    """As `eth_sendTransaction` takes it."""
    transaction_base64: str | None = None
    """An unsigned Solana transaction."""
    transaction_hash: str | None = None


@dataclass(frozen=True, slots=True)
class SignResult:
    """The transaction for a correct signature, or one sentence."""

    transaction: Mapping[str, Any] | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class SentResult:
    """The stage after a transaction hash was reported, and one sentence about it."""

    stage: WithdrawalStage
    message: str


class WithdrawalPages(Protocol):
    """Prepares and checks withdrawals for the page. Texts from the browser arrive unchecked. Nothing is raised."""

    async def view(self, withdrawal_id: str) -> WithdrawalView | None:
        """Return the withdrawal with its plan; None if there is none whose approval was used."""

    async def sign(self, withdrawal_id: str, signature: str) -> SignResult:
        """Return the transaction if the signature is the sender's."""

    async def sent(self, withdrawal_id: str, transaction_hash: str) -> SentResult:
        """Record a transaction and look for its receipt, for at most 20 seconds."""
