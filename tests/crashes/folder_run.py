"""One state folder and its servers, one after the other, until enough were killed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

from machines_mcp.server.settings_reader import read_settings
from tests.crashes.child import StartOrder
from tests.crashes.client import Client
from tests.crashes.folder_findings import FolderFindings, at_kill, check_folder, unsettled
from tests.crashes.kill_plan import KillCounts, Plan, PlannedKill, planned_kills
from tests.crashes.operations import CrashOperation
from tests.crashes.person import StateFolderApprover
from tests.crashes.server_process import ForkServer, start_server
from tests.crashes.upstream import PersistentUpstream
from tests.crashes.workload import Workload
from tests.leaks.canaries import Canaries
from tests.leaks.server import POLICY, public_key

SETTLED_WITHIN = 60.0
# Seconds after which a server is killed in any case.
LONGEST = 15.0
_POLICY = POLICY + '[tools]\ncreate_deposit = "ask"\n'


class FolderRun:
    """`names` supplies the users."""

    def __init__(
        self, folder: Path, plan: Plan, seed: int, forks: ForkServer, up: PersistentUpstream, names: Iterator[str]
    ) -> None:
        self.folder, self.plan, self.kill_counts = folder, plan, KillCounts()
        self.drained = 0.0
        """Seconds from the last start until everything was resolved."""
        rng = random.Random(seed)  # noqa: S311
        self._fork_server, self._up = forks, up
        self._env = {
            "MACHINES_ENV": "sandbox",
            "MACHINES_API_URL": up.base_url,
            "MACHINES_PARTNER_KEY_FILE": str(folder / "key"),
            "MACHINES_STATE_DIR": str(folder / "state"),
            "MACHINES_POLICY": str(folder / "policy.toml"),
            "MACHINES_LOG_LEVEL": "INFO",
        }
        self._canaries = Canaries(seed)
        self._person = StateFolderApprover(self._env, self._canaries)
        self.client = Client(self._person.grant, self._person.see, naive=plan.naive)
        self._workload = Workload(self.client, up, names, rng)
        self._planned_kills = planned_kills(plan, rng)

    @property
    def operations(self) -> list[CrashOperation]:
        """Every operation so far."""
        return self._workload.operations

    async def run(self) -> FolderFindings:
        """Start and kill servers, let the last one reconcile, and check the folder."""
        await self._prepare()
        while self.kill_counts.kills < self.plan.kills:
            await self._run_until_killed(next(self._planned_kills))
        await self._recover()
        revealed = {
            operation.card.card_id
            for operation in self.operations
            if operation.card and operation.kind in ("reveal", "page")
        }
        numbers = self._up.numbers(revealed)
        return await check_folder(self.folder, self._state, numbers, self._canaries, self._workload.manual())

    async def _prepare(self) -> None:
        (self.folder / "state").mkdir(mode=0o700, parents=True)
        files = {"key": self._up.partner_key, "sealed.pub": public_key()}
        files["policy.toml"] = _POLICY.replace("{key}", str(self.folder / "sealed.pub"))
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
            (self.folder / name).chmod(0o600)
        self._state = read_settings(self._env).state_dir
        await self._person.set_passphrase()

    async def _run_until_killed(self, planned: PlannedKill) -> None:
        order = StartOrder(self._env, planned.point, planned.nth, fresh=planned.fresh, journal=self.plan.journal)
        loop = asyncio.get_running_loop()

        def on_answer(answers: int) -> None:
            if answers == planned.answers:
                loop.call_later(planned.delay, server.kill)

        server = await start_server(self._fork_server, order, self.folder, on_answer)
        timers = [loop.call_later(LONGEST, server.kill)]
        if planned.after_start is not None:
            timers.append(loop.call_later(planned.after_start, server.kill))
        await self._workload.run_workers(server, planned.weights)
        await server.ended()
        for timer in timers:
            timer.cancel()
        self.kill_counts.note(server, planned.point)
        # By now, neither the person nor the client has the database open.
        executing, pending = await asyncio.to_thread(at_kill, self._state)
        self.kill_counts.executing += executing
        self.kill_counts.pending += pending

    async def _recover(self) -> None:
        """Start a server that is not killed. It must resolve every open operation."""
        self._workload.abandon_unapproved()
        server = await start_server(
            self._fork_server, StartOrder(self._env, journal=self.plan.journal), self.folder, lambda _: None
        )
        while time.monotonic() - server.began < SETTLED_WITHIN:
            if not await self._workload.retry_open(server):
                break
            await asyncio.sleep(0.5)
        while self.plan.journal and time.monotonic() - server.began < SETTLED_WITHIN:
            # The server reconciles by itself what no client repeats.
            if not await asyncio.to_thread(unsettled, self._state, self._workload.manual()):
                break
            await asyncio.sleep(0.25)
        self.drained = time.monotonic() - server.began
        self.kill_counts.passed += server.passed()
        server.close_stdin()
        await server.ended()
