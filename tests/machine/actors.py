"""The actors of a world: a model that calls tools, and people who approve or reject."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import anyio

from machines_mcp.storage.database import StoreUnavailable
from tests.machine.process import USERS, Dialog, Process
from tests.machine.world import GatedCall, VirtualWorld

Act: TypeAlias = Callable[[Process], Awaitable[Any]]
Kind = Literal[
    "card", "bare", "pay", "double", "limit", "close", "deposit", "twin", "yes", "no", "dialog", "call", "through"
]  # fmt: skip
"""An action. Some create a new call: `card`, `bare` (a card without a label), `pay`, `double` (two approvals for one
quote), `limit`, `close`. `twin` repeats a call's request. `call` is a call with its approval id, `dialog` one that
the client's dialog approves, and `through` an approval followed by the call."""
# The repetitions are weights.
KINDS: tuple[Kind, ...] = (
    "card", "bare", "bare", "pay", "pay", "double", "limit", "close", "deposit",
    "twin", "yes", "no", "dialog", "call", "call", "through", "through",
)  # fmt: skip

# Few distinct amounts, so that totals reach the caps exactly.
SUMS = (1_000, 2_500, 5_000, 12_000)


def act(world: VirtualWorld, kind: Kind, pick: int) -> Act:
    """Return an action. `pick` chooses the user, the amount, the call, and whether a new call is approved
    immediately."""
    user = USERS[pick % 2]
    first = _new(world, kind, pick, user)
    if first is None:
        return lambda process: act_on_known_call(world, process, kind, pick)
    return first if pick % 4 < 2 else lambda process: ask_approve_and_call(world, process, first)


def _new(world: VirtualWorld, kind: Kind, pick: int, user: str) -> Act | None:
    match kind:
        case "card":
            return lambda process: new_card(world, process, user)
        case "bare":
            limit = {"limit_amount_cents": 20_000 + world.unique_number(), "limit_frequency": "allTime"}
            return lambda process: ask(world, process, GatedCall("create_card", {"user_id": user} | limit))
        case "pay":
            return lambda process: pay(world, process, user, SUMS[pick // 4 % len(SUMS)])
        case "double":
            return lambda process: double(world, process, user, SUMS[pick // 4 % len(SUMS)])
        case "deposit":
            return lambda process: deposit(world, process, user)
        case "limit" | "close":
            return lambda process: change(world, process, kind, pick)
        case _:
            return None


async def ask_approve_and_call(world: VirtualWorld, process: Process, first: Act) -> None:
    """Request, approve and call again without a pause."""
    before = len(world.told.asks)
    await first(process)
    for what in world.told.asks[before:][:1]:
        assert what.id is not None
        await decide(process, what.id, yes=True)
        await call(world, process, what)


async def new_card(world: VirtualWorld, process: Process, user: str) -> None:
    """Request a card with unique terms."""
    number = world.unique_number()
    limit = {"limit_amount_cents": 1_000 + number, "limit_frequency": "per7DayPeriod"}
    await ask(world, process, GatedCall("create_card", {"user_id": user, "label": f"card {number}"} | limit))


async def pay(world: VirtualWorld, process: Process, user: str, cents: int) -> None:
    """Quote a withdrawal to a unique destination and request it."""
    terms = {"amount_cents": cents, "currency": "usdc", "network": "base", "address": f"0x{world.unique_number():040x}"}
    terms["admin_address"] = "0x" + "7a" * 20
    quoted = await process.call("quote_withdrawal", {"user_id": user} | terms)
    if quoted["code"] == "ok":
        await ask(world, process, GatedCall("create_withdrawal", {"user_id": user, "quote_id": quoted["quote_id"]}))


async def double(world: VirtualWorld, process: Process, user: str, cents: int) -> None:
    """Approve two requests for one quote and call both at once."""
    asks = world.told.asks
    before = len(asks)
    await pay(world, process, user, cents)
    for first in asks[before : before + 1]:
        await decide(process, first.id or "", yes=True)
        await ask(world, process, GatedCall(first.tool, first.arguments))
        await decide(process, asks[-1].id or "", yes=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, world, process, first)
            tasks.start_soon(call, world, process, asks[-1])


async def deposit(world: VirtualWorld, process: Process, user: str) -> None:
    """Create a deposit, which needs no approval."""
    found = await process.call(
        "create_deposit",
        {"user_id": user, "currency": "usdc", "network": "base", "amount": float(world.unique_number())},
    )
    if found["code"] == "ok":
        world.told.deposits.append(found["deposit_id"])
    world.told.judge("create_deposit", found)


async def change(world: VirtualWorld, process: Process, kind: Literal["limit", "close"], pick: int) -> None:
    """Request another limit for a card, or close it."""
    # Cards that a response named.
    known = {told.get("card_id") for told in world.told.outcomes.values()}
    cards = [card for card in world.upstream.created("card") if card.id in known]
    if not cards:
        return await new_card(world, process, USERS[pick % 2])
    card = cards[pick % len(cards)]
    whose = {"user_id": card.user, "card_id": card.id}
    if kind == "close":
        await ask(world, process, GatedCall("close_card", whose))
    else:
        limit = {"limit_amount_cents": 50_000 + world.unique_number(), "limit_frequency": "allTime"}
        await ask(world, process, GatedCall("update_card", whose | limit))


async def ask(world: VirtualWorld, process: Process, what: GatedCall) -> None:
    """Call without an approval id, which creates an approval."""
    found = await process.call(what.tool, what.arguments)
    world.told.judge(what.tool, found)
    if found["code"] == "approval.required":
        what.id = found["approval_id"]
        world.told.asks.append(what)


async def act_on_known_call(world: VirtualWorld, process: Process, kind: Kind, pick: int) -> None:
    """Act on a call made earlier."""
    asks = world.told.asks
    if not asks:
        return await new_card(world, process, USERS[pick % 2])
    what = asks[-1 - pick % min(len(asks), 6)]
    assert what.id is not None
    if kind == "twin":
        # A request that is already approved may be repeated.
        if pick % 2:
            await decide(process, what.id, yes=True)
        await ask(world, process, GatedCall(what.tool, what.arguments))
    if kind in ("yes", "through"):
        await decide(process, what.id, yes=True)
    if kind == "no" and pick % 8 == 4:
        await withdraw(world, process, what)
    elif kind == "no":
        await decide(process, what.id, yes=pick % 4 > 0)
    if kind in ("call", "through"):
        await call(world, process, what)
    if kind == "dialog":
        await call(world, process, what, Dialog(what.id, "decline" if pick % 5 == 0 else "accept"))


async def withdraw(world: VirtualWorld, process: Process, what: GatedCall) -> None:
    """Withdraw the request. Another process may have made it, or a person has decided it."""
    found = await process.call("cancel_approval", {"approval_id": what.id})
    world.told.judge("cancel_approval", found)
    if found["code"] not in ("ok", "not_found", "approval.not_waiting", "state.unavailable"):
        world.told.wrong.append(f"a withdrawal ended with {found['code']}")


async def decide(process: Process, approval_id: str, *, yes: bool) -> None:
    """Approve or reject at the terminal. If the store fails, the person sees an error and stops."""
    with suppress(StoreUnavailable):
        await (process.guard.channels.grant if yes else process.guard.channels.refuse)(approval_id, "terminal")


async def call(world: VirtualWorld, process: Process, what: GatedCall, dialog: Dialog | None = None) -> None:
    """Repeat the call with its approval id."""
    assert what.id is not None
    arguments = what.arguments if dialog is not None else what.arguments | {"approval_id": what.id}
    found = await process.call(what.tool, arguments, dialog)
    world.told.judge(what.tool, found, what.id)
