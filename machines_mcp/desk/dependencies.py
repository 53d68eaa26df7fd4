"""What the desk is handed. It knows the guard and the partner's models; all else comes as callables."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from machines_mcp.permissions.channels import Decision
from machines_mcp.permissions.factory import Guard

if TYPE_CHECKING:
    from machines_mcp.partner import KycValues

Take: TypeAlias = Callable[[], Awaitable[Decision]]


@dataclass(frozen=True, slots=True)
class Fulfilled:
    """What became of a form. `faulty`: it waits still, the fields say why. `failed`: it was decided and went wrong.

    `faults` are (field, rule), `message` one sentence; neither holds a value of the form.
    """

    decision: Decision | Literal["faulty", "failed"]
    faults: tuple[tuple[str, str], ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class DeskDependencies:
    """The rooms behind the desk."""

    environment: str
    guard: Guard
    key: bytes
    """Of the state folder: by it a desk shows that it is this folder's."""
    titles: Mapping[str, str]
    """What each tool is called, for people."""
    kyc_values: Callable[[str], Awaitable[KycValues]]
    """The form of the identity check, for a user: `GET /kyc/values`. Raises `PartnerError`."""
    fulfil: Callable[[str, Mapping[str, str], Take], Awaitable[Fulfilled]]
    """(intent, values, the person's decision): run a waiting call with values that a person typed."""
    pinned_user: str | None = None
    clock: Callable[[], float] = time.time

    @property
    def simulated(self) -> bool:
        """Whether nothing is real, so that nobody has to show who they are."""
        return not self.guard.policy.needs_passphrase

    @property
    def kind(self) -> str:
        """What two servers must have in common for one desk to serve both: equal policies and the same user."""
        says = json.dumps([self.environment, self.guard.policy.digest, self.pinned_user])
        return hashlib.sha256(says.encode()).hexdigest()
