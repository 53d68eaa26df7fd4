"""Who acts in a world: a model that calls tools, and people who say yes and no."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import anyio

from machines_mcp.storage.database import StoreUnavailable
from tests.machine.process import Dialog, Process
from tests.machine.world import Ask, World

Act: TypeAlias = Callable[[Process], Awaitable[Any]]
Kind = Literal[
    "card", "bare", "pay", "double", "limit", "close", "deposit", "twin", "yes", "no", "dialog", "call", "through"
]  # fmt: skip
"""What somebody does. They ask for something new: `card`, `bare` (one without a label), `pay`, `double` (twice for one
quote), `limit`, `close`; or for the same once more: `twin`. `call` is an ask with its id, `dialog` that by the client's
dialog, `through` a yes and the call."""
# As often as it stands here.
KINDS: tuple[Kind, ...] = (
    "card", "bare", "bare", "pay", "pay", "double", "limit", "close", "deposit",
    "twin", "yes", "no", "dialog", "call", "call", "through", "through",
)  # fmt: skip

USERS = ("user-1", "user-2")
# The same few sums come up again and again, so that caps are reached to the cent.
SUMS = (1_000, 2_500, 5_000, 12_000)


def act(world: World, kind: Kind, pick: int) -> Act:
    """What somebody does. `pick` chooses the user, the sum, the ask, and whether what is new is let through at once."""
    user = USERS[pick % 2]
    first = _new(world, kind, pick, user)
    if first is None:
        return lambda process: about(world, process, kind, pick)
    return first if pick % 4 < 2 else lambda process: at_once(world, process, first)


def _new(world: World, kind: Kind, pick: int, user: str) -> Act | None:
    match kind:
        case "card":
            return lambda process: new_card(world, process, user)
        case "bare":
            limit = {"limit_amount_cents": 20_000 + world.number(), "limit_frequency": "allTime"}
            return lambda process: ask(world, process, Ask("create_card", {"user_id": user} | limit))
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


async def at_once(world: World, process: Process, first: Act) -> None:
    """Ask, say yes and call again, without a pause."""
    before = len(world.told.asks)
    await first(process)
    for what in world.told.asks[before:][:1]:
        assert what.id is not None
        await decide(process, what.id, yes=True)
        await call(world, process, what)


async def new_card(world: World, process: Process, user: str) -> None:
    """Ask for a card like no other."""
    number = world.number()
    limit = {"limit_amount_cents": 1_000 + number, "limit_frequency": "per7DayPeriod"}
    await ask(world, process, Ask("create_card", {"user_id": user, "label": f"card {number}"} | limit))


async def pay(world: World, process: Process, user: str, cents: int) -> None:
    """Get a quote to a place of its own, and ask for the withdrawal."""
    terms = {"amount_cents": cents, "currency": "usdc", "network": "base", "address": f"0x{world.number():040x}"}
    quoted = await process.call("quote_withdrawal", {"user_id": user} | terms)
    if quoted["code"] == "ok":
        await ask(world, process, Ask("create_withdrawal", {"user_id": user, "quote_id": quoted["quote_id"]}))


async def double(world: World, process: Process, user: str, cents: int) -> None:
    """Have two intents for one quote, both approved, and use them at the same time."""
    asks = world.told.asks
    before = len(asks)
    await pay(world, process, user, cents)
    for first in asks[before : before + 1]:
        await decide(process, first.id or "", yes=True)
        await ask(world, process, Ask(first.tool, first.arguments))
        await decide(process, asks[-1].id or "", yes=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, world, process, first)
            tasks.start_soon(call, world, process, asks[-1])


async def deposit(world: World, process: Process, user: str) -> None:
    """A write that nobody is asked about."""
    found = await process.call(
        "create_deposit", {"user_id": user, "currency": "usdc", "network": "base", "amount": float(world.number())}
    )
    if found["code"] == "ok":
        world.told.deposits.append(found["deposit_id"])
    world.told.judge("create_deposit", found)


async def change(world: World, process: Process, kind: Literal["limit", "close"], pick: int) -> None:
    """Ask for another limit of a card, or for its end."""
    # Those that a caller was told of.
    known = {told.get("card_id") for told in world.told.outcomes.values()}
    cards = [card for card in world.upstream.made("card") if card.id in known]
    if not cards:
        return await new_card(world, process, USERS[pick % 2])
    card = cards[pick % len(cards)]
    whose = {"user_id": card.user, "card_id": card.id}
    if kind == "close":
        await ask(world, process, Ask("close_card", whose))
    else:
        limit = {"limit_amount_cents": 50_000 + world.number(), "limit_frequency": "allTime"}
        await ask(world, process, Ask("update_card", whose | limit))


async def ask(world: World, process: Process, what: Ask) -> None:
    """Call without an id: a person must decide."""
    found = await process.call(what.tool, what.arguments)
    world.told.judge(what.tool, found)
    if found["code"] == "approval.required":
        what.id = found["approval_id"]
        world.told.asks.append(what)


async def about(world: World, process: Process, kind: Kind, pick: int) -> None:
    """Do something about an ask that is known."""
    asks = world.told.asks
    if not asks:
        return await new_card(world, process, USERS[pick % 2])
    what = asks[-1 - pick % min(len(asks), 6)]
    assert what.id is not None
    if kind == "twin":
        # Of one that is granted already the same may be asked for once more.
        if pick % 2:
            await decide(process, what.id, yes=True)
        await ask(world, process, Ask(what.tool, what.arguments))
    if kind in ("yes", "through"):
        await decide(process, what.id, yes=True)
    if kind == "no":
        await decide(process, what.id, yes=pick % 4 > 0)
    if kind in ("call", "through"):
        await call(world, process, what)
    if kind == "dialog":
        await call(world, process, what, Dialog(what.id, "decline" if pick % 5 == 0 else "accept"))


async def decide(process: Process, approval_id: str, *, yes: bool) -> None:
    """A person at the terminal; where the store fails they see an error and go home."""
    with suppress(StoreUnavailable):
        await (process.guard.channels.grant if yes else process.guard.channels.refuse)(approval_id, "terminal")


async def call(world: World, process: Process, what: Ask, dialog: Dialog | None = None) -> None:
    """The same call with its id."""
    assert what.id is not None
    arguments = what.arguments if dialog is not None else what.arguments | {"approval_id": what.id}
    found = await process.call(what.tool, arguments, dialog)
    world.told.judge(what.tool, found, what.id)
