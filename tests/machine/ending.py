"""After everything: nothing fails any more, the processes start anew, and soon nothing is in doubt but for a person."""

from __future__ import annotations

from functools import partial

from machines_mcp.permissions.authorizer import Authorization
from machines_mcp.storage.audit_chain import verify
from machines_mcp.storage.state_keys import state_key
from tests.machine.callers import Act, call
from tests.machine.invariants import Violated, check
from tests.machine.process import Process
from tests.machine.rows import Row, approvals, reading
from tests.machine.world import NAMES, Ask, World

_ASKED_AGAIN = 6
SOON = 60.0
"""Within so many seconds of a start all is settled that can be."""


def settle(world: World, seed: int = 0) -> None:
    """Let it come to rest, and look whether it did.

    Raises:
        Violated: Something is in doubt still, and waits for no person; or an invariant does not hold.
    """
    world.set_back = 0.0
    world.kill(NAMES[0], power=True)
    world.step([(NAMES[0], _nothing)])
    # Time for the quiet after the start, and for what upstream signs late.
    world.wait(SOON + 1.0 + world.upstream.habits.signs_after, seed)
    check(world)
    for row in _executing(world):
        (authorization,) = world.step([(NAMES[0], partial(_look, world, row))])
        if isinstance(authorization, Authorization) and authorization.verdict != "manual":
            raise Violated(f"rest: a {row.group[0]} is in doubt still, and no person is called")
    # Whoever asks again is told what was found, or that nothing happened.
    for what in world.told.asks[-_ASKED_AGAIN:]:
        world.step([(NAMES[1], _again(world, what))])
        check(world)
    _journal(world)


def _executing(world: World) -> list[Row]:
    with reading(world.disk.folder / "state.db") as db:
        return [row for row in approvals(db) if row.state == "executing"]


def _again(world: World, what: Ask) -> Act:
    return lambda process: call(world, process, what)


async def _nothing(process: Process) -> None:
    pass


async def _look(world: World, row: Row, process: Process) -> Authorization | None:
    approval = await process.guard.approvals.get(row.id)
    assert approval is not None
    return await process.settling.reconcile(approval)


def _journal(world: World) -> None:
    """What the journal has open is what a person must look at, and one thing is made by one mutation."""
    manual = {row.id for row in _executing(world)}
    with reading(world.disk.folder / "state.db") as db:
        query = "SELECT approval_id, state FROM mutations WHERE state IN ('pending', 'unknown') AND settled_by IS NULL"
        if left := [tuple(row) for row in db.execute(query) if row["approval_id"] not in manual]:
            raise Violated(f"rest: the journal has left open {left[0][1]}, and no person is called")
        twice = "SELECT 1 FROM mutations WHERE state = 'done' AND operation = 'POST /cards'"
        if (
            db.execute(f"{twice} AND reference IS NOT NULL GROUP BY reference HAVING count(*) > 1").fetchone()
            is not None
        ):
            raise Violated("rest: two mutations of the journal made one card")
        finding = verify(db, state_key(world.disk.folder, "audit"))
        if not finding.ok:
            raise Violated(f"chain: {finding.faults[0]}")
