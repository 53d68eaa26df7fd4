"""One state folder and the servers that live and die over it, one after the other, until so many were killed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from machines_mcp.settings import read_settings
from machines_mcp.testing import decide, set_passphrase
from tests.crashes.aftermath import Aftermath, at_death, checked, unsettled
from tests.crashes.child import Order
from tests.crashes.client import Client
from tests.crashes.life import Gone, Life, Nursery, begin
from tests.crashes.upstream import Upstream
from tests.crashes.wishes import WEIGHTS, Customer, Kind, Wish
from tests.leaks.browser import Browser
from tests.leaks.canaries import Canaries
from tests.leaks.server import POLICY, public_key

WORKERS = 10
SETTLED_WITHIN = 60.0
# Whatever was planned, a life ends then.
LONGEST = 15.0
MOST_ANSWERS = 3 * WORKERS
# Who was meant for a point and has not come to it by then dies where it is.
MISSED_AFTER = 5 * WORKERS
AT_BIRTH = 0.12
FRESH = 0.02
MOST_PAGES = 3

_REVEALS: dict[Kind, int] = {"page": 60, "card": 20}
_WITHDRAWALS: dict[Kind, int] = {"withdrawal": 60, "card": 20, "deposit": 4}
# What brings a server to points that chance would seldom reach.
_TOWARDS: dict[str, dict[Kind, int]] = {
    "vault.started": {"reveal": 60, "card": 20},
    "reveal.taken": _REVEALS,
    "reveal.finished": _REVEALS,
    "quote.used": _WITHDRAWALS,
    "withdrawal.recorded": _WITHDRAWALS,
}
# Passed a few times in a life at most.
_RARE = {*_TOWARDS, "settling.begun", "settling.ended"}
_POLICY = POLICY + '[tools]\ncreate_deposit = "ask"\n'


@dataclass(frozen=True)
class Plan:
    """How a segment's servers die. `points`: the labelled ones, in turn; where `chance` says so, at any moment."""

    kills: int
    points: tuple[str, ...]
    chance: float = 0.5
    naive: bool = False
    journal: bool = True


@dataclass
class Deaths:
    """How servers died."""

    kills: int = 0
    at_points: Counter[str] = field(default_factory=Counter)
    """Those that were meant for a point and died there."""
    phases: Counter[str] = field(default_factory=Counter)
    """All of them, by the point that was passed last."""
    passed: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    """Calls that had no answer."""
    executing: int = 0
    """Intents that had been taken and had no outcome."""
    pending: int = 0
    """Requests in the journal without an answer."""
    unexpected: list[str] = field(default_factory=list)

    def add(self, other: Deaths) -> None:
        """Both together."""
        self.kills += other.kills
        self.at_points += other.at_points
        self.phases += other.phases
        self.passed += other.passed
        self.under_way += other.under_way
        self.executing += other.executing
        self.pending += other.pending
        self.unexpected += other.unexpected


class Segment:
    """`names` are the users it may take."""

    def __init__(self, folder: Path, plan: Plan, seed: int, from_: Nursery, up: Upstream, names: Iterator[str]) -> None:
        self.folder, self.plan, self.deaths = folder, plan, Deaths()
        self.wishes: list[Wish] = []
        self.drained = 0.0
        """How long after the last start everything was resolved, in seconds."""
        self._rng = random.Random(seed)  # noqa: S311
        self._nursery, self._up, self._names = from_, up, names
        self._canaries = Canaries(seed)
        self._browser = Browser(self._canaries)
        self.client = Client(self._grant, self._see, naive=plan.naive)
        self._customers: list[Customer] = []
        self._aside: list[Wish] = []
        self._weights = WEIGHTS
        self._points = self._in_turn()
        self._pages = 0

    async def run(self) -> Aftermath:
        """Let servers live and die, then have everything settled; what is left in the folder is looked at last."""
        await self._prepare()
        self._customers = [self._new_customer() for _ in range(WORKERS)]
        while self.deaths.kills < self.plan.kills:
            await self._live_and_die()
        await self._settle()
        revealed = {wish.card.card_id for wish in self.wishes if wish.card and wish.kind in ("reveal", "page")}
        return await checked(self.folder, self._state, self._up.numbers(revealed), self._canaries, self._manual())

    def _manual(self) -> Counter[tuple[str, str]]:
        return Counter((wish.tool, wish.user) for wish in self.wishes if wish.state == "manual")

    async def _prepare(self) -> None:
        (self.folder / "state").mkdir(mode=0o700, parents=True)
        files = {"key": self._up.partner_key, "sealed.pub": public_key()}
        files["policy.toml"] = _POLICY.replace("{key}", str(self.folder / "sealed.pub"))
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
            (self.folder / name).chmod(0o600)
        self._env = {
            "MACHINES_ENV": "sandbox",
            "MACHINES_API_URL": self._up.base_url,
            "MACHINES_PARTNER_KEY_FILE": str(self.folder / "key"),
            "MACHINES_STATE_DIR": str(self.folder / "state"),
            "MACHINES_POLICY": str(self.folder / "policy.toml"),
            "MACHINES_LOG_LEVEL": "INFO",
        }
        self._state = read_settings(self._env).state_dir
        await set_passphrase(self._env, self._canaries.passphrase)

    def _in_turn(self) -> Iterator[str]:
        while True:
            yield from self._rng.sample(self.plan.points, len(self.plan.points))

    async def _live_and_die(self) -> None:
        rng = self._rng
        at_point = bool(self.plan.points) and rng.random() >= self.plan.chance
        point = next(self._points) if at_point else None
        self._weights, self._pages = _TOWARDS.get(point or "", WEIGHTS), 0
        nth = rng.randint(1, 2 if point in _RARE else 2 * WORKERS)
        order = Order(self._env, point, nth, fresh=rng.random() < FRESH, journal=self.plan.journal)
        at = MISSED_AFTER if at_point else rng.randint(1, MOST_ANSWERS)
        delay = rng.uniform(0, 0.03)

        def heard(answers: int) -> None:
            if answers == at:
                asyncio.get_running_loop().call_later(delay, life.kill)

        life = await begin(self._nursery, order, self.folder, heard)
        timer = asyncio.get_running_loop().call_later(LONGEST, life.kill)
        if not at_point and rng.random() < AT_BIRTH:
            asyncio.get_running_loop().call_later(rng.uniform(0, 0.3), life.kill)
        async with asyncio.TaskGroup() as tasks:
            for place in range(WORKERS):
                tasks.create_task(self._work(life, place))
            tasks.create_task(self._note_end(life, point))
        timer.cancel()
        # Now that nobody here, who decides or asks, has the database open any more.
        executing, pending = await asyncio.to_thread(at_death, self._state)
        self.deaths.executing += executing
        self.deaths.pending += pending

    async def _note_end(self, life: Life, point: str | None) -> None:
        deaths, under_way = self.deaths, 0
        while not life.over:
            under_way = life.under_way
            await asyncio.sleep(0.005)
        await life.ended()
        if not life.killed_by_us and point is None:
            deaths.unexpected.append(f"server {life.pid} ended by itself after {life.answers} answers")
        deaths.kills += 1
        deaths.under_way += under_way
        deaths.at_points.update([point] if point is not None and not life.killed_by_us else [])
        deaths.phases[life.last_point() or "before any"] += 1
        deaths.passed += life.passed()

    async def _work(self, life: Life, place: int) -> None:
        """One of the users' hands until the server dies: first what it left open, then wish after wish.

        And now and then what others left open, whose end was not known when they were last told.
        """
        with suppress(Gone):
            for wish in self._customers[place].wishes[-1:]:
                await self._take_up(life, wish)
            while True:
                for wish in [wish for wish in self._aside if self._rng.random() < 1 / WORKERS]:
                    await self._take_up(life, wish)
                customer = self._customer(place)
                if not customer.resolved:
                    await life.call("resolve_user", {"user_id": customer.user})
                    customer.resolved = True
                wish = customer.next(self._allowed())
                self.wishes.append(wish)
                await self._pursue(life, wish)

    def _allowed(self) -> Mapping[Kind, int]:
        # A card's page stands for a while after it was looked at, and a server has no more of them at a time.
        return {kind: share for kind, share in self._weights.items() if kind != "page" or self._pages < MOST_PAGES}

    async def _take_up(self, life: Life, wish: Wish) -> None:
        if wish in self._aside:
            self._aside.remove(wish)
            await self._pursue(life, wish)

    def _customer(self, place: int) -> Customer:
        if self._customers[place].left <= 0 or self._customers[place].stuck:
            self._customers[place] = self._new_customer()
        return self._customers[place]

    def _new_customer(self) -> Customer:
        return Customer(next(self._names), random.Random(self._rng.random()))  # noqa: S311

    async def _pursue(self, life: Life, wish: Wish) -> None:
        self._pages += wish.kind == "page"
        if wish.kind == "withdrawal":
            # The wallet has sent the last one by now; while a signature lives the next one is not signed.
            await self._up.control("/withdrawals", userId=wish.user)
        try:
            await self.client.pursue(life, wish)
        finally:
            if wish.state == "open":
                self._aside.append(wish)
        if wish.state == "done" and wish.kind == "deposit":
            await self._up.control("/deposits", depositId=wish.reference)
        wish.owner.learn(wish)

    async def _settle(self) -> None:
        """One more server, which nobody kills: all that is open must come to its end."""
        for wish in [wish for wish in self._aside if not (wish.granted or wish.plain)]:
            # Nobody has said yes to it, so there is nothing to settle.
            wish.settle("not done", wish.code)
            self._aside.remove(wish)
        life = await begin(self._nursery, Order(self._env, journal=self.plan.journal), self.folder, lambda _: None)
        while self._aside and time.monotonic() - life.began < SETTLED_WITHIN:
            waiting, self._aside = self._aside, []
            async with asyncio.TaskGroup() as tasks:
                for wish in waiting:
                    tasks.create_task(self._pursue(life, wish))
            if self._aside:
                await asyncio.sleep(0.5)
        while self.plan.journal and time.monotonic() - life.began < SETTLED_WITHIN:
            # What nobody asks for is settled by the server itself.
            left = await asyncio.to_thread(unsettled, self._state, self._manual())
            if not left:
                break
            await asyncio.sleep(0.25)
        self.drained = time.monotonic() - life.began
        self.deaths.passed += life.passed()
        life.hang_up()
        await life.ended()

    async def _grant(self, approval_id: str) -> bool:
        decision = await decide(self._env, approval_id, passphrase=self._canaries.passphrase)
        return decision == "granted"

    async def _see(self, page: str) -> None:
        with suppress(OSError, IndexError, ValueError):
            # It ends with its server.
            await self._browser.see_card(page)
