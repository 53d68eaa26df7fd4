"""Measure what a call costs with 100,000 rows in each table of the state folder, beside an empty one.

Both servers have a policy with every limit set. Each measured step is a call that changes something, and then `status`,
which reads what is left of the limits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from benchmarks.fill import fill_state
from benchmarks.measure import Samples, timed, turns
from benchmarks.own import command
from benchmarks.wire import STATUS, Command, Era, Wire
from machines_mcp.partner.mutation_log import Mutation
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.storage.withdrawals import Withdrawals

ROWS = 100_000
STEPS_A_ROUND = 40
USER = "measured-user"
POLICY = """
version = 1
environment = "embedded"

[classes]
write = "allow"

[withdrawals]
per_call_cents = 100_000_000
per_day_cents = 100_000_000_000
per_user_day_cents = 1_000_000_000
destinations = "any"

[rates]
asks_per_minute = 10_000
mutations_per_hour = 100_000
reveals_per_card_per_day = 100

[rates.total]
asks_per_minute = 100_000
mutations_per_hour = 1_000_000
"""
CHANGE: Mapping[str, Any] = {"name": "create_session", "arguments": {"purpose": "kyc"}}
CALLS: Sequence[Mapping[str, Any]] = (CHANGE, STATUS)


def measure_rows(scratch: Path, era: Era, runs: int, rows: int = ROWS) -> tuple[Samples, Samples]:
    """Return the times of the step with `rows` more rows in each table and with none, taken in turns."""
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(changing_server(scratch / str(count), count), era)) for count in (rows, 0)]
        for wire in wires:
            wire.greet()
        samples = {wire: Samples() for wire in wires}
        for counted, wire in turns(wires, runs):
            taken = timed(partial(_step, wire), STEPS_A_ROUND)
            if counted:
                samples[wire].rounds.append(taken)
    filled, empty = samples.values()
    return filled, empty


def _step(wire: Wire) -> None:
    for call in CALLS:
        wire.ask("tools/call", call)


def changing_server(home: Path, rows: int) -> Command:
    """Return a server that may do `CALLS`, whose state folder has one row of each kind, and `rows` copies of it."""
    home.mkdir(parents=True)
    policy = home / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    policy.chmod(0o600)
    settings = {"MACHINES_USER_ID": USER, "MACHINES_POLICY": str(policy)}
    server = command("ours", "machines_mcp", home, **settings)
    anyio.run(_fill, server.environment, rows)
    return server


async def _fill(environment: Mapping[str, str], rows: int) -> None:
    settings = read_settings(environment)
    async with open_guard(settings) as guard:
        details = ApprovalDetails(question="?", amount_cents=1)
        request = CallRequest("create_withdrawal", ActionClass.MONEY, USER, "digest")
        approval = await guard.approvals.open_granted(request, details, "operator")
        sent = await guard.journal.begin(Mutation(USER, "POST /withdrawals", "key", b"{}", True, {}))
        await guard.journal.end(sent, "done")
        withdrawals = Withdrawals(guard.store)
        begun = await withdrawals.begin(await withdrawals.quote(USER, {}), approval.id)
        assert begun is not None
        await withdrawals.record(begun, "ready", {})
        await guard.approvals.finish(approval.id, "{}", ok=True, code="ok")
        await guard.known_users.succeeded(USER, changed=True)
        guard.audit.note(AuditEntry("call", tool="status", action_class="read", user_id=USER))
    if rows:
        fill_state(settings.state_dir / "state.db", rows, time.time())
