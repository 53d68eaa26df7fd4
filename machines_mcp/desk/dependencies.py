"""The desk's dependencies. Apart from the guard and the partner's models, all are callables."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from machines_mcp.desk.locked_cards import LockedCards
from machines_mcp.desk.secret_path import secret_path
from machines_mcp.desk.withdrawal_pages import WithdrawalPages
from machines_mcp.permissions.decision import Decision
from machines_mcp.permissions.factory import Guard
from machines_mcp.redaction.detectors import HIDDEN, masked_text

if TYPE_CHECKING:
    from machines_mcp.partner import KycStatus, KycValues

TakeDecision: TypeAlias = Callable[[], Awaitable[Decision]]


@dataclass(frozen=True, slots=True)
class FormResult:
    """The result of a submitted form. `faulty`: still waiting, see `faults`. `failed`: decided, but the call failed.

    `faults` are (field, rule) pairs, `message` is one sentence. Neither contains a value from the form.
    """

    decision: Decision | Literal["faulty", "failed"]
    faults: tuple[tuple[str, str], ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class CardPage:
    """The address of the vault's page, or one sentence about why it can't be shown."""

    address: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class DeskDependencies:
    """What the desk needs from its server."""

    environment: str
    guard: Guard
    key: bytes
    """The state folder's desk key: it determines the secret path, and a desk proves with it whose it is."""
    titles: Mapping[str, str]
    """Tool titles for people, by tool name."""
    outcome_sentence: Callable[[str, Mapping[str, Any]], str]
    """Return what a call led to, in a sentence: (tool, stored outcome)."""
    kyc_values: Callable[[str], Awaitable[KycValues]]
    """Fetch the identity form for a user: `GET /kyc/values`. Raises `PartnerError`."""
    kyc_status: Callable[[str], Awaitable[KycStatus]]
    """Fetch the status of a user's identity check: `GET /kyc/status`. Raises `PartnerError`."""
    kyc_meaning: Callable[[str | None], str]
    """Return what a status means, in a sentence."""
    submit_form: Callable[[str, Mapping[str, str], TakeDecision], Awaitable[FormResult]]
    """Run a waiting call with typed values: (approval id, values, callback that takes the decision)."""
    open_card: Callable[[str], Awaitable[CardPage]]
    """Start the vault's page of a waiting reveal, by approval id."""
    contains_secret: Callable[[str], bool]
    """Whether a text contains a secret that the server knows, in any common encoding."""
    simulator_page: Callable[[], Awaitable[str | None]]
    """Return the address of the simulator's page; None if the API is no simulator, or if it does not run."""
    clock: Callable[[], float] = time.time
    locked_cards: LockedCards | None = None
    """The cards that the agent locked; None in a test without tools."""
    withdrawals: WithdrawalPages | None = None
    """Prepares approved withdrawals for a person's wallet; None if the extra for chains is not installed."""

    @property
    def simulated(self) -> bool:
        """Whether this is the simulator, so that no passphrase is needed."""
        return not self.guard.policy.needs_passphrase

    def mask(self, text: str) -> str:
        """Return text from Machines as a page may show it: hidden if it contains a known secret, otherwise masked."""
        return HIDDEN if self.contains_secret(text) else masked_text(text)

    @property
    def base_path(self) -> str:
        """The secret path before every page, without a slash at its end."""
        return secret_path(self.key)

    @property
    def fingerprint(self) -> str:
        """Hash of environment, policy and pinned user. Servers share a desk only if theirs are equal."""
        identity = json.dumps([self.environment, self.guard.policy.digest, self.guard.principal.pinned])
        return hashlib.sha256(identity.encode()).hexdigest()
