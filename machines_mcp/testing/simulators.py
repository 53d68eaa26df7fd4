"""The simulator of the Partner API, moved along by its control: what a test makes happen that no caller could."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from machines_mcp.server.sandbox_process import Endpoint, SandboxProcess
from machines_mcp.server.settings import read_settings

CONTROL_SECONDS = 10.0

KycDecision = Literal[
    "approved",
    "denied",
    "pending",
    "manual_review",
    "needs_information",
    "needs_verification",
    "not_submitted",
    "locked",
    "canceled",
]
FaultKind = Literal["status", "delay", "drop", "after", "half_body", "html", "wrong_types"]
"""What goes wrong: `status`, a refusal; `delay`, a late answer; `drop`, the connection closes and nothing happened;
`after`, it closes and it happened; `half_body`, it closes within the answer; `html`, a page comes instead;
`wrong_types`, every value of the answer has another type."""


class NotTaken(Exception):
    """The simulator did not take an order; the message says why, after the field at fault where there is one."""


@dataclass(frozen=True, slots=True)
class Spend:
    """A payment with a card. `reason`, where it was not approved: `card_not_active`, `insufficient_balance` or
    `card_limit`. `transaction_id` is the one in `list_transactions`."""

    approved: bool
    reason: str | None
    transaction_id: str


class Simulator:
    """One simulator. `env` is for whatever is to share it: the settings of a server, `decide`, `client`'s folder."""

    def __init__(self, env: Mapping[str, str], endpoint: Endpoint, http: httpx.AsyncClient) -> None:
        self.env = dict(env)
        self.state_dir = Path(env["MACHINES_STATE_DIR"])
        self.endpoint = endpoint
        self._http = http

    async def finish_kyc(
        self, user_id: str, decision: KycDecision = "approved", *, reason: str | None = None
    ) -> KycDecision:
        """Decide a user's identity check, whatever was submitted: POST /control/kyc.

        `reason` is what the API then says of it (at most 500 characters); by default one that fits.

        Raises:
            NotTaken: No such user has come yet.
        """
        await self.order("/kyc", userId=user_id, decision=decision, reason=reason)
        return decision

    async def complete_deposit(self, deposit_id: str) -> None:
        """Let the payment of a deposit arrive now: POST /control/deposits. By itself it takes up to three seconds.

        Raises:
            NotTaken: There is no such deposit.
        """
        await self.order("/deposits", depositId=deposit_id)

    async def spend(self, card_id: str, amount_cents: int, merchant_name: str = "Test Shop") -> Spend:
        """Pay with a card: POST /control/spend. `amount_cents` is at least 1. What is approved posts after 3 seconds.

        Raises:
            NotTaken: There is no such card, or the amount is no whole number of cents.
        """
        data = await self.order("/spend", cardId=card_id, amountCents=amount_cents, merchantName=merchant_name)
        return Spend(data["approved"], data["reason"], data["transactionId"])

    async def execute_withdrawal(self, user_id: str) -> int:
        """Use the user's live withdrawal signature on chain; the cents that left: POST /control/withdrawals.

        Raises:
            NotTaken: The user has no signature that is still valid.
        """
        return int((await self.order("/withdrawals", userId=user_id))["amountCents"])

    async def advance(self, seconds: int) -> str:
        """Move the simulator's clock forward by 1 second to 10 years; its new time (ISO, UTC): POST /control/clock.

        The server's own clock stays: a quote's 10 minutes and an approval's 15 are its own.
        """
        return str((await self.order("/clock", advanceSeconds=seconds))["now"])

    async def fault(
        self,
        path: str,
        kind: FaultKind = "status",
        *,
        calls: int = 1,
        method: str | None = None,
        status: int | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        delay_seconds: int | None = None,
    ) -> None:
        """Break the next `calls` (1 to 1000) calls of an API path, or of all that begin with it: POST /control/faults.

        `path` is one of the Partner API such as `/cards` or `/cards/{cardId}`, by any or one `method`. With `status`:
        the HTTP `status` (by default 503), the API's `code`, and `retry_after` in seconds. With `delay`:
        `delay_seconds`, 1 to 120. The partner's client sends a read again by itself, so one fault may not be seen.

        Raises:
            NotTaken: No call could ever meet it; the message names the paths near it.
        """
        how: dict[str, Any] = {"method": method, "calls": calls, "delaySeconds": delay_seconds}
        if kind == "status":
            how |= {"status": 503 if status is None else status, "code": code, "retryAfter": retry_after}
        await self.order("/faults", kind=kind, path=path, **how)

    async def clear_faults(self) -> None:
        """Let nothing go wrong any more: POST /control/faults/clear."""
        await self.order("/faults/clear")

    async def limit_rate(self, calls: int, window_seconds: int = 60) -> None:
        """Let the API take so many calls per window, 0 as many as come: POST /control/rate."""
        await self.order("/rate", calls=calls, windowSeconds=window_seconds)

    async def order(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Any order of the control (docs/sandbox.md), by its path below /control; what it answers.

        Raises:
            NotTaken: It was refused.
        """
        given = {name: value for name, value in body.items() if value is not None}
        answer = (await self._http.post(f"{self.endpoint.control_url}{path}", json=given)).json()
        if not answer.get("ok"):
            raise NotTaken(_why(answer))
        return dict(answer.get("data") or {})


def _why(answer: Mapping[str, Any]) -> str:
    fault = (answer.get("errors") or [{}])[0]
    field = fault.get("field")
    return f"{field}: {answer.get('summary')}" if field else str(answer.get("summary"))


@asynccontextmanager
async def simulator(state_dir: Path | None = None) -> AsyncIterator[Simulator]:
    """The simulator of a state folder, that of the servers that use the folder; started here where none runs.

    It ends when the last that uses it ends. Without `state_dir` the folder is a new one, gone with the block.

    Raises:
        SandboxFailed: It did not start within 15 seconds.
        StoreUnavailable: The folder can't be used.
    """
    async with AsyncExitStack() as stack:
        folder = str(state_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="machines-testing-")))
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": folder}
        embedded = SandboxProcess(read_settings(env).state_dir)
        stack.push_async_callback(embedded.close)
        endpoint = await embedded.endpoint()
        # Loopback, whatever proxy the environment names.
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=CONTROL_SECONDS))
        yield Simulator(env, endpoint, http)
