"""Recovery: faults stop, the processes restart, and soon only calls that need a person are unresolved."""

from __future__ import annotations

from functools import partial

from machines_mcp.permissions.authorizer import Authorization
from machines_mcp.storage.audit_chain import verify
from machines_mcp.storage.state_keys import state_key
from tests.machine.actors import Act, call
from tests.machine.invariants import InvariantViolated, check
from tests.machine.process import Process
from tests.machine.state_rows import Row, approvals, reading
from tests.machine.world import NAMES, GatedCall, VirtualWorld

_ASKED_AGAIN = 6
SOON = 60.0
"""Seconds after a start within which everything that can be reconciled is."""


def recover_and_check(world: VirtualWorld, seed: int = 0) -> None:
    """Let the world recover and check the result.

    Raises:
        InvariantViolated: A call is still unresolved and needs no person, or an invariant is violated.
    """
    world.set_back = 0.0
    world.kill(NAMES[0], power=True)
    world.step([(NAMES[0], _do_nothing)])
    # Covers the waiting period after a start and late signatures.
    world.wait(SOON + 1.0 + world.upstream.habits.signs_after, seed)
    check(world)
    for row in _executing(world):
        (authorization,) = world.step([(NAMES[0], partial(_reconcile, world, row))])
        if isinstance(authorization, Authorization) and authorization.verdict != "needs_person":
            raise InvariantViolated(f"rest: a {row.group[0]} is unresolved and needs no person")
    # Repeated calls return what was found, or report that nothing happened.
    for what in world.told.asks[-_ASKED_AGAIN:]:
        world.step([(NAMES[1], _again(world, what))])
        check(world)
    _journal(world)


def _executing(world: VirtualWorld) -> list[Row]:
    with reading(world.disk.folder / "state.db") as db:
        return [row for row in approvals(db) if row.state == "executing"]


def _again(world: VirtualWorld, what: GatedCall) -> Act:
    return lambda process: call(world, process, what)


async def _do_nothing(process: Process) -> None:
    pass


async def _reconcile(world: VirtualWorld, row: Row, process: Process) -> Authorization | None:
    approval = await process.guard.approvals.get(row.id)
    assert approval is not None
    return await process.settling.reconcile(approval)


def _journal(world: VirtualWorld) -> None:
    """Check that open journal entries are those a person must resolve, and that each resource has one mutation."""
    manual = {row.id for row in _executing(world)}
    with reading(world.disk.folder / "state.db") as db:
        query = "SELECT approval_id, state FROM mutations WHERE state IN ('pending', 'unknown') AND settled_by IS NULL"
        if left := [tuple(row) for row in db.execute(query) if row["approval_id"] not in manual]:
            raise InvariantViolated(f"rest: journal entry {left[0][1]} is open and needs no person")
        twice = "SELECT 1 FROM mutations WHERE state = 'done' AND operation = 'POST /cards'"
        if (
            db.execute(f"{twice} AND reference IS NOT NULL GROUP BY reference HAVING count(*) > 1").fetchone()
            is not None
        ):
            raise InvariantViolated("rest: two journal entries created one card")
        verification = verify(db, state_key(world.disk.folder, "audit"))
        if not verification.ok:
            raise InvariantViolated(f"chain: {verification.faults[0]}")
