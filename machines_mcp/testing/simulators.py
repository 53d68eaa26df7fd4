"""The Partner API simulator and its control API, which lets a test cause events that no API caller can."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from machines_mcp.server.sandbox_endpoint import Endpoint
from machines_mcp.server.sandbox_process import SandboxProcess, start_process
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.testing.own_task import in_own_task
from machines_mcp.testing.simulator_thread import start_thread

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
FaultKind = Literal["status", "delay", "drop", "after", "half_body", "html", "wrong_types", "patch"]
"""The kind of fault: `status`, an error status; `delay`, a late response; `drop`, the connection closes and nothing
happens; `after`, it closes after the request took effect; `half_body`, it closes within the response; `html`, the
response is an HTML page; `wrong_types`, every value in the response has another type; `patch`, the response is changed
by a JSON patch."""


class NotTaken(Exception):
    """The simulator refused a control request. The message says why, after the invalid field if there is one."""


@dataclass(frozen=True, slots=True)
class Spend:
    """A card payment. `reason`, if it was declined, is `card_not_active`, `insufficient_balance` or `card_limit`.
    `transaction_id` is the one in `list_transactions`."""

    approved: bool
    reason: str | None
    transaction_id: str


class Simulator:
    """A running simulator. `env` holds the settings for a server or `decide` call that shares it."""

    def __init__(self, env: Mapping[str, str], endpoint: Endpoint, http: httpx.AsyncClient) -> None:
        self.env = dict(env)
        self.state_dir = Path(env["MACHINES_STATE_DIR"])
        self.endpoint = endpoint
        self._http = http

    async def finish_kyc(
        self, user_id: str, decision: KycDecision = "approved", *, reason: str | None = None
    ) -> KycDecision:
        """Decide a user's identity check, whatever was submitted: POST /control/kyc.

        `reason` is the reason that the API reports (at most 500 characters); by default one that fits.

        Raises:
            NotTaken: The simulator does not know this user yet.
        """
        await self.order("/kyc", userId=user_id, decision=decision, reason=reason)
        return decision

    async def complete_deposit(self, deposit_id: str) -> None:
        """Make a deposit's payment arrive now: POST /control/deposits. Otherwise it takes up to three seconds.

        Raises:
            NotTaken: There is no such deposit.
        """
        await self.order("/deposits", depositId=deposit_id)

    async def spend(self, card_id: str, amount_cents: int, merchant_name: str = "Test Shop") -> Spend:
        """Pay with a card: POST /control/spend. `amount_cents` is at least 1. An approved payment posts in 3 seconds.

        Raises:
            NotTaken: There is no such card, or the amount is not a whole number of cents.
        """
        data = await self.order("/spend", cardId=card_id, amountCents=amount_cents, merchantName=merchant_name)
        return Spend(data["approved"], data["reason"], data["transactionId"])

    async def execute_withdrawal(self, user_id: str) -> int:
        """Use the user's live withdrawal signature on chain, and return the cents sent: POST /control/withdrawals.

        Raises:
            NotTaken: The user has no valid signature.
        """
        return int((await self.order("/withdrawals", userId=user_id))["amountCents"])

    async def advance(self, seconds: int) -> str:
        """Advance the simulator's clock by 1 second to 10 years, and return its time (ISO, UTC): POST /control/clock.

        This does not affect the server's clock, which measures a quote's 10 minutes and an approval's 15.
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
        patch: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Make the next `calls` (1 to 1000) to an API path, or any path below it, fail: POST /control/faults.

        `path` is a Partner API path such as `/cards` or `/cards/{cardId}`, by any `method` or one. For `status`: the
        HTTP `status` (default 503), the API's `code`, and `retry_after` in seconds. For `delay`: `delay_seconds`, 1 to
        120. For `patch`: RFC 6902 operations on the envelope, such as
        `{"op": "replace", "path": "/data/last4", "value": ""}`. The partner client retries reads, so a single fault may
        go unnoticed.

        Raises:
            NotTaken: No call could match the path; the message names similar paths.
        """
        how: dict[str, Any] = {"method": method, "calls": calls, "delaySeconds": delay_seconds, "patch": patch}
        if kind == "status":
            how |= {"status": 503 if status is None else status, "code": code, "retryAfter": retry_after}
        await self.order("/faults", kind=kind, path=path, **how)

    async def clear_faults(self) -> None:
        """Remove all faults: POST /control/faults/clear."""
        await self.order("/faults/clear")

    async def limit_rate(self, calls: int, window_seconds: int = 60) -> None:
        """Limit the API to this many calls per window (0: no limit): POST /control/rate."""
        await self.order("/rate", calls=calls, windowSeconds=window_seconds)

    async def order(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Send a control request (docs/sandbox.md) to a path below /control, and return its data.

        Raises:
            NotTaken: The request was refused.
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


def joined(folder: Path, *, own_process: bool = False, chain: bool = False) -> SandboxProcess:
    """Return the simulator of a state folder, for a server. If none runs, it starts in a thread of this process."""
    return SandboxProcess(folder, start_process if own_process else start_thread, chain=chain)


@in_own_task
async def simulator(
    state_dir: Path | None = None, *, own_process: bool = False, chain: bool = False
) -> AsyncIterator[Simulator]:
    """Yield the simulator that all servers with this state folder share, starting it if none runs.

    It stops when its last user does. Without `state_dir`, a temporary folder is used and deleted after the block. It
    runs in a thread of this process, where other processes reach it, too. With `own_process` it is a process, which
    may outlive this one. With `chain` (the extra `sandbox-chain`), withdrawals can be executed on chains of its own:
    `endpoint.chains` has their addresses, `endpoint.wallet` an account with its key.

    Raises:
        SandboxFailed: It did not start within 15 seconds.
        StoreUnavailable: The folder can't be used.
        RuntimeError: No asyncio loop runs, for example under trio.
    """
    async with AsyncExitStack() as stack:
        folder = str(state_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="machines-testing-")))
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": folder}
        embedded = joined(read_settings(env).state_dir, own_process=own_process, chain=chain)
        stack.push_async_callback(embedded.close)
        endpoint = await embedded.endpoint()
        # Connect directly to loopback, even if the environment sets a proxy.
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=CONTROL_SECONDS))
        yield Simulator(env, endpoint, http)
