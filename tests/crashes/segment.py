"""One state folder and the servers that live and die over it, one after the other, until so many were killed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

from machines_mcp.server.settings import read_settings
from tests.crashes.aftermath import Aftermath, at_death, checked, unsettled
from tests.crashes.child import Order
from tests.crashes.client import Client
from tests.crashes.crowd import Crowd
from tests.crashes.deaths import Death, Deaths, Plan, deaths
from tests.crashes.life import Nursery, begin
from tests.crashes.person import Person
from tests.crashes.upstream import Upstream
from tests.crashes.wishes import Wish
from tests.leaks.canaries import Canaries
from tests.leaks.server import POLICY, public_key

SETTLED_WITHIN = 60.0
# Whatever was planned, a life ends then.
LONGEST = 15.0
_POLICY = POLICY + '[tools]\ncreate_deposit = "ask"\n'


class Segment:
    """`names` are the users it may take."""

    def __init__(self, folder: Path, plan: Plan, seed: int, from_: Nursery, up: Upstream, names: Iterator[str]) -> None:
        self.folder, self.plan, self.deaths = folder, plan, Deaths()
        self.drained = 0.0
        """How long after the last start everything was resolved, in seconds."""
        rng = random.Random(seed)  # noqa: S311
        self._nursery, self._up = from_, up
        self._env = {
            "MACHINES_ENV": "sandbox",
            "MACHINES_API_URL": up.base_url,
            "MACHINES_PARTNER_KEY_FILE": str(folder / "key"),
            "MACHINES_STATE_DIR": str(folder / "state"),
            "MACHINES_POLICY": str(folder / "policy.toml"),
            "MACHINES_LOG_LEVEL": "INFO",
        }
        self._canaries = Canaries(seed)
        self._person = Person(self._env, self._canaries)
        self.client = Client(self._person.grant, self._person.see, naive=plan.naive)
        self._crowd = Crowd(self.client, up, names, rng)
        self._to_die = deaths(plan, rng)

    @property
    def wishes(self) -> list[Wish]:
        """All that was wished."""
        return self._crowd.wishes

    async def run(self) -> Aftermath:
        """Let servers live and die, then have everything settled; what is left in the folder is looked at last."""
        await self._prepare()
        while self.deaths.kills < self.plan.kills:
            await self._live_and_die(next(self._to_die))
        await self._settle()
        revealed = {wish.card.card_id for wish in self.wishes if wish.card and wish.kind in ("reveal", "page")}
        numbers = self._up.numbers(revealed)
        return await checked(self.folder, self._state, numbers, self._canaries, self._crowd.manual())

    async def _prepare(self) -> None:
        (self.folder / "state").mkdir(mode=0o700, parents=True)
        files = {"key": self._up.partner_key, "sealed.pub": public_key()}
        files["policy.toml"] = _POLICY.replace("{key}", str(self.folder / "sealed.pub"))
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
            (self.folder / name).chmod(0o600)
        self._state = read_settings(self._env).state_dir
        await self._person.set_passphrase()

    async def _live_and_die(self, death: Death) -> None:
        order = Order(self._env, death.point, death.nth, fresh=death.fresh, journal=self.plan.journal)
        loop = asyncio.get_running_loop()

        def heard(answers: int) -> None:
            if answers == death.answers:
                loop.call_later(death.delay, life.kill)

        life = await begin(self._nursery, order, self.folder, heard)
        timers = [loop.call_later(LONGEST, life.kill)]
        if death.after_birth is not None:
            timers.append(loop.call_later(death.after_birth, life.kill))
        await self._crowd.busy(life, death.weights)
        await life.ended()
        for timer in timers:
            timer.cancel()
        self.deaths.note(life, death.point)
        # Now that nobody here, who decides or asks, has the database open any more.
        executing, pending = await asyncio.to_thread(at_death, self._state)
        self.deaths.executing += executing
        self.deaths.pending += pending

    async def _settle(self) -> None:
        """One more server, which nobody kills: all that is open must come to its end."""
        self._crowd.give_up()
        life = await begin(self._nursery, Order(self._env, journal=self.plan.journal), self.folder, lambda _: None)
        while time.monotonic() - life.began < SETTLED_WITHIN:
            if not await self._crowd.ask_again(life):
                break
            await asyncio.sleep(0.5)
        while self.plan.journal and time.monotonic() - life.began < SETTLED_WITHIN:
            # What nobody asks for is settled by the server itself.
            if not await asyncio.to_thread(unsettled, self._state, self._crowd.manual()):
                break
            await asyncio.sleep(0.25)
        self.drained = time.monotonic() - life.began
        self.deaths.passed += life.passed()
        life.hang_up()
        await life.ended()
