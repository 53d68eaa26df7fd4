"""The workload of a state folder: a fixed number of workers, each performing one operation after another."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress

from tests.crashes.client import Client
from tests.crashes.kill_plan import WORKERS
from tests.crashes.operations import CrashCustomer, CrashOperation, Kind
from tests.crashes.server_process import ServerGone, ServerProcess
from tests.crashes.upstream import PersistentUpstream

# Limits per server. Each starts a vault process, and a server serves at most two card pages.
_MOST: dict[Kind, int] = {"page": 2, "reveal": 1}
# How often a worker repeats an open operation. Resolving it may take longer than the server lives, and a worker that
# always waited would do nothing else.
_IN_VAIN = 3
# How often a worker takes up another worker's open operation before starting a new one.
_OTHERS = 0.05

# How soon a wallet uses a signature.
_USE_SECONDS = 0.5


class Workload:
    """`names` supplies the users. `operations` holds every operation."""

    def __init__(self, client: Client, up: PersistentUpstream, names: Iterator[str], rng: random.Random) -> None:
        self.operations: list[CrashOperation] = []
        self._client, self._up, self._names, self._rng = client, up, names, rng
        self._customers = [self._new_customer() for _ in range(WORKERS)]
        self._aside: list[CrashOperation] = []
        self._weights: Mapping[Kind, int] = {}
        self._begun: Counter[Kind] = Counter()

    def manual(self) -> Counter[tuple[str, str]]:
        """Count the calls left to a person, by tool and user."""
        return Counter((operation.tool, operation.user) for operation in self.operations if operation.state == "manual")

    async def run_workers(self, server: ServerProcess, weights: Mapping[Kind, int]) -> None:
        """Run all workers until the server ends."""
        self._weights, self._begun = weights, Counter()
        async with asyncio.TaskGroup() as tasks:
            for place in range(WORKERS):
                tasks.create_task(self._work(server, place))

    def abandon_unapproved(self) -> None:
        """Abandon open operations that were never approved, since they need no reconciliation."""
        for operation in [operation for operation in self._aside if not (operation.granted or operation.plain)]:
            operation.settle("not done", operation.code)
            self._aside.remove(operation)

    async def retry_open(self, server: ServerProcess) -> bool:
        """Retry the open operations. Return whether some are still open.

        Raises:
            ExceptionGroup: The server is gone.
        """
        waiting, self._aside = self._aside, []
        async with asyncio.TaskGroup() as tasks:
            for operation in waiting:
                tasks.create_task(self._pursue(server, operation))
        return bool(self._aside)

    async def _work(self, server: ServerProcess, place: int) -> None:
        """Run one worker until the server ends: first its open operation, then new ones.

        Sometimes it takes up another worker's open operation.
        """
        with suppress(ServerGone):
            for operation in self._customers[place].operations[-1:]:
                if operation in self._aside and operation.cut < _IN_VAIN:
                    await self._take_up(server, operation)
            while True:
                if self._aside and self._rng.random() < _OTHERS:
                    await self._take_up(server, self._rng.choice(self._aside))
                customer = self._customer(place)
                if not customer.resolved:
                    await server.call("resolve_user", {"user_id": customer.user})
                    customer.resolved = True
                operation = customer.next(self._allowed())
                self.operations.append(operation)
                await self._pursue(server, operation)

    def _is_allowed(self, kind: Kind) -> bool:
        return kind not in _MOST or self._begun[kind] < _MOST[kind]

    def _allowed(self) -> Mapping[Kind, int]:
        return {kind: share for kind, share in self._weights.items() if self._is_allowed(kind)}

    async def _take_up(self, server: ServerProcess, operation: CrashOperation) -> None:
        if self._is_allowed(operation.kind):
            self._aside.remove(operation)
            await self._pursue(server, operation)

    def _customer(self, place: int) -> CrashCustomer:
        if self._customers[place].left <= 0 or self._customers[place].stuck:
            self._customers[place] = self._new_customer()
        return self._customers[place]

    def _new_customer(self) -> CrashCustomer:
        return CrashCustomer(next(self._names), random.Random(self._rng.random()))  # noqa: S311

    async def _pursue(self, server: ServerProcess, operation: CrashOperation) -> None:
        self._begun[operation.kind] += 1
        users = [operation.user] if operation.kind == "withdrawal" else []
        signatures = [asyncio.create_task(self._use_signatures(user)) for user in users]
        try:
            await self._client.pursue(server, operation)
        finally:
            for task in signatures:
                task.cancel()
            if operation.state == "open":
                self._aside.append(operation)
        if operation.state == "done" and operation.kind == "deposit":
            await self._up.control("/deposits", depositId=operation.reference)
        operation.owner.learn(operation)

    async def _use_signatures(self, user: str) -> None:
        """Use each signature soon, because the next withdrawal is not signed while one is live."""
        while True:
            await self._up.control("/withdrawals", userId=user)
            await asyncio.sleep(_USE_SECONDS)
