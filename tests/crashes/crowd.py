"""The users of a segment and what they want: as many at a time as there are hands, each with one wish after another."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress

from tests.crashes.client import Client
from tests.crashes.deaths import WORKERS
from tests.crashes.life import Gone, Life
from tests.crashes.upstream import Upstream
from tests.crashes.wishes import Customer, Kind, Wish

# In a life: each costs a process of the vault's, and of a card's pages a server has no more at a time.
_MOST: dict[Kind, int] = {"page": 2, "reveal": 1}
# How often a hand repeats what it left open. It may take a longer life than there is to find out what became of it,
# and a hand that always waited for that would do nothing else.
_IN_VAIN = 3
# How often, between two wishes, a hand takes up what another left open.
_OTHERS = 0.05


class Crowd:
    """`names` are the users it may take. `wishes` is all that was ever wished."""

    def __init__(self, client: Client, up: Upstream, names: Iterator[str], rng: random.Random) -> None:
        self.wishes: list[Wish] = []
        self._client, self._up, self._names, self._rng = client, up, names, rng
        self._customers = [self._new_customer() for _ in range(WORKERS)]
        self._aside: list[Wish] = []
        self._weights: Mapping[Kind, int] = {}
        self._begun: Counter[Kind] = Counter()

    def manual(self) -> Counter[tuple[str, str]]:
        """How many calls of which tool and user were left to a person."""
        return Counter((wish.tool, wish.user) for wish in self.wishes if wish.state == "manual")

    async def busy(self, life: Life, weights: Mapping[Kind, int]) -> None:
        """All hands at work until the server dies."""
        self._weights, self._begun = weights, Counter()
        async with asyncio.TaskGroup() as tasks:
            for place in range(WORKERS):
                tasks.create_task(self._work(life, place))

    def give_up(self) -> None:
        """Wish no more for what nobody has said yes to: there is nothing to settle."""
        for wish in [wish for wish in self._aside if not (wish.granted or wish.plain)]:
            wish.settle("not done", wish.code)
            self._aside.remove(wish)

    async def ask_again(self, life: Life) -> bool:
        """Take up what is open once more; whether something still is.

        Raises:
            ExceptionGroup: The server is gone.
        """
        waiting, self._aside = self._aside, []
        async with asyncio.TaskGroup() as tasks:
            for wish in waiting:
                tasks.create_task(self._pursue(life, wish))
        return bool(self._aside)

    async def _work(self, life: Life, place: int) -> None:
        """One of the users' hands until the server dies: first what it left open, then wish after wish.

        And now and then what others left open, whose end was not known when they were last told.
        """
        with suppress(Gone):
            for wish in self._customers[place].wishes[-1:]:
                if wish in self._aside and wish.cut < _IN_VAIN:
                    await self._take_up(life, wish)
            while True:
                if self._aside and self._rng.random() < _OTHERS:
                    await self._take_up(life, self._rng.choice(self._aside))
                customer = self._customer(place)
                if not customer.resolved:
                    await life.call("resolve_user", {"user_id": customer.user})
                    customer.resolved = True
                wish = customer.next(self._allowed())
                self.wishes.append(wish)
                await self._pursue(life, wish)

    def _may(self, kind: Kind) -> bool:
        return kind not in _MOST or self._begun[kind] < _MOST[kind]

    def _allowed(self) -> Mapping[Kind, int]:
        return {kind: share for kind, share in self._weights.items() if self._may(kind)}

    async def _take_up(self, life: Life, wish: Wish) -> None:
        if self._may(wish.kind):
            self._aside.remove(wish)
            await self._pursue(life, wish)

    def _customer(self, place: int) -> Customer:
        if self._customers[place].left <= 0 or self._customers[place].stuck:
            self._customers[place] = self._new_customer()
        return self._customers[place]

    def _new_customer(self) -> Customer:
        return Customer(next(self._names), random.Random(self._rng.random()))  # noqa: S311

    async def _pursue(self, life: Life, wish: Wish) -> None:
        self._begun[wish.kind] += 1
        if wish.kind == "withdrawal":
            # The wallet has sent the last one by now; while a signature lives the next one is not signed.
            await self._up.control("/withdrawals", userId=wish.user)
        try:
            await self._client.pursue(life, wish)
        finally:
            if wish.state == "open":
                self._aside.append(wish)
        if wish.state == "done" and wish.kind == "deposit":
            await self._up.control("/deposits", depositId=wish.reference)
        wish.owner.learn(wish)
