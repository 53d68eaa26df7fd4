"""An environment for approval tests: servers that share a state folder, and the upstream state of each user."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, Literal, get_args

import anyio
import httpx
from anyio.abc import Process

from machines_mcp.partner import PartnerClient
from machines_mcp.permissions.passphrase_tries import PassphrasePlace
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.sandbox_process import SandboxProcess
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.testing import set_passphrase
from tests.approval.wire import Era, StdioServer, connected
from tests.support.known_users import introduce
from tests.support.running_desk import FakeBrowser
from tests.support.running_sandbox import Sandbox
from tests.support.waiting import PATIENCE

PASSPHRASE = "correct horse battery"
WALLET = "0x" + "5a" * 20
TERMS = {
    "amount_cents": 2500,
    "currency": "rusd",
    "network": "base",
    "address": "0x" + "cd" * 20,
    "admin_address": "0x" + "7a" * 20,
}

Channel = Literal["terminal", "desk"]
Name = Literal["embedded", "sandbox", "unset"]
CHANNELS: tuple[Channel, ...] = ("terminal", "desk")

_numbers = itertools.count(1)


@dataclass
class Installation:
    """One state folder, its servers and its Partner API."""

    name: Name
    env: Mapping[str, str]
    control_url: str
    http: httpx.AsyncClient
    browser: httpx.AsyncClient
    client: PartnerClient
    stack: AsyncExitStack
    servers: dict[tuple[Era, bool], StdioServer] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return read_settings(self.env).state_dir / "state.db"

    async def server(self, era: Era, *, dialog: bool = True) -> StdioServer:
        """Return the server for this kind of client, starting it on first use."""
        found = self.servers.get((era, dialog))
        if found is None:
            found = await self.stack.enter_async_context(connected(self.env, era, dialog=dialog))
            self.servers[era, dialog] = found
        return found

    async def user(self, *, funded: bool = False) -> str:
        """Create a user who passed the identity check and accepted the agreements."""
        user_id = await self.new_user()
        await self.resolved(user_id)
        if funded:
            deposit = await self.client.deposits.create(user_id, "rusd", "base", amount=100)
            await self._control("/deposits", depositId=deposit.id)
        return user_id

    async def new_user(self, *, approved: bool = False) -> str:
        """Create a user without any history. `approved`: the identity check is passed."""
        user_id = f"{self.name}-{os.getpid()}-{next(_numbers)}"
        await self.client.users.resolve(user_id)
        if approved:
            await introduce(self.env, user_id)
            await self._control("/kyc", userId=user_id, decision="approved")
        return user_id

    async def resolved(self, user_id: str) -> None:
        """Create the same user in this world, up to the steps that a card needs."""
        await self.client.users.resolve(user_id)
        await introduce(self.env, user_id)
        await self._control("/kyc", userId=user_id, decision="approved")
        await self.client.agreements.accept(user_id)

    async def waiting(self, user_id: str) -> list[str]:
        """Return the ids of the user's waiting approvals, read from the database."""
        with closing(sqlite3.connect(self.database, timeout=PATIENCE)) as db:
            rows = db.execute("SELECT id FROM approvals WHERE user_id = ? AND state = 'waiting'", (user_id,))
            return [str(row[0]) for row in rows]

    def sealed(self, approval_id: str) -> bytes | None:
        """Return the approval's encrypted identity data, read from the database."""
        with closing(sqlite3.connect(self.database, timeout=PATIENCE)) as db:
            (found,) = db.execute("SELECT sealed FROM approvals WHERE id = ?", (approval_id,)).fetchone()
        return bytes(found) if found is not None else None

    async def upstream_state(self, user_id: str) -> dict[str, Any]:
        """Return everything that upstream shows of the user."""
        cursor: dict[str, str] = {}
        while True:
            answer = await self.http.get(self.control_url, params={"limit": "200"} | cursor)
            data = answer.raise_for_status().json()["data"]
            for found in data["users"]:
                if found["userId"] == user_id:
                    wallet = (await self.client.users.resolve(user_id)).wallet_address
                    return dict(found) | {"wallet": wallet}
            cursor = {"cursor": data["nextCursor"]}

    async def cards(self, user_id: str) -> int:
        """Return the number of the user's cards."""
        return len((await self.upstream_state(user_id))["cards"])

    def sent(self, method: str, path: str) -> int:
        """Count such requests in the trace. The card count hides repeats, because upstream deduplicates by key."""
        trace = Path(self.env["MACHINES_TRACE"])
        lines = trace.read_text(encoding="ascii").splitlines() if trace.exists() else []
        return sum((found["method"], found["path"]) == (method, path) for found in map(json.loads, lines))

    async def decide(self, channel: Channel, asked: Mapping[str, Any], decision: str, typed: str = PASSPHRASE) -> bool:
        """Decide an approval as a person would. Return whether the decision was accepted."""
        approval_id = str(asked["approval_id"])
        if channel == "terminal":
            status, said = await self.terminal("approve" if decision == "approve" else "deny", approval_id, typed)
            assert status in (0, 1), said
            return status == 0
        browser = FakeBrowser(str(asked["desk"]), self.browser)
        if (await browser.get(f"/decisions/{approval_id}")).status_code == 401:
            if (await browser.sign_in()).status_code != 303:
                return False
            await browser.get(f"/decisions/{approval_id}")
        answer = await browser.post(f"/decisions/{approval_id}", {"decision": decision, "passphrase": typed})
        return answer.status_code == 303

    async def terminal(self, *arguments: str) -> tuple[int, str]:
        """Run a command with its last argument on stdin. Return its exit code and its output."""
        *line, typed = arguments
        plain = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
        command = [sys.executable, "-m", "machines_mcp", *line]
        with anyio.fail_after(PATIENCE):
            done = await anyio.run_process(
                command, input=f"{typed}\n".encode(), env=plain | dict(self.env), check=False
            )
        return done.returncode, (done.stdout + done.stderr).decode()

    async def desk(self) -> str:
        """Return the desk's address from the operator's command."""
        line = [sys.executable, "-m", "machines_mcp", "desk"]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
        process = await anyio.open_process(line, env=plain | dict(self.env), stderr=DEVNULL)
        self.stack.push_async_callback(_end, process)
        with anyio.fail_after(PATIENCE):
            said = ""
            while "http://" not in said or not said.endswith("\n"):
                assert process.stdout is not None
                said += (await process.stdout.receive()).decode()
        return "http://" + said.partition("http://")[2].split()[0]

    def change(self, statement: str, *values: object) -> None:
        """Change the database under the servers, to simulate the passing of time."""
        with closing(sqlite3.connect(self.database, timeout=PATIENCE)) as db, db:
            db.execute(statement, values)

    def delay_passphrases(self) -> None:
        """Let the next passphrase wait a minute, wherever it is typed."""
        for place in get_args(PassphrasePlace):
            # The clock was set back since the last try, so the delay begins with the next one.
            values = (place, 7, time.time() + 3600, 0, 7, time.time())
            self.change("REPLACE INTO passphrase_tries VALUES (?, ?, ?, ?, ?, ?)", *values)

    def forget_refusals(self) -> None:
        """Clear cooldowns and wrong passphrase attempts that other tests caused."""
        self.change("UPDATE approvals SET decided_at = decided_at - 3600 WHERE state = 'refused'")
        self.change("DELETE FROM passphrase_tries")

    async def _control(self, path: str, **values: Any) -> None:
        answer = await self.http.post(self.control_url + path, json=values)
        answer.raise_for_status()


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.aclose()


@asynccontextmanager
async def world(name: Name, folder: Path, sandbox: Sandbox) -> AsyncIterator[Installation]:
    """Open a world: `embedded` with its own simulator, the others on `sandbox`, `unset` without a passphrase."""
    env = {"MACHINES_STATE_DIR": str(folder / "state"), "MACHINES_ENV": "embedded"}
    env["MACHINES_TRACE"] = str(folder / "trace")
    async with AsyncExitStack() as stack:
        if name == "embedded":
            simulator = SandboxProcess(read_settings(env).state_dir)
            stack.push_async_callback(simulator.close)
            found = await simulator.endpoint()
            base_url, key, control_url = found.base_url, found.partner_key, found.control_url
        else:
            base_url, key, control_url = sandbox.base_url, Secret(sandbox.partner_key), sandbox.control_url
            policy = folder / "policy.toml"
            policy.write_text('version = 1\nenvironment = "sandbox"\nusers = "any"\n', encoding="ascii")
            policy.chmod(0o600)
            env |= {"MACHINES_ENV": "sandbox", "MACHINES_API_URL": base_url, "MACHINES_PARTNER_KEY": key.expose()}
            env |= {"MACHINES_POLICY": str(policy)}
        if name == "sandbox":
            await set_passphrase(env, PASSPHRASE)
        async with open_guard(read_settings(env)) as guard:
            await guard.channels.waiting()  # creates the database
        http, browser = [
            await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=PATIENCE)) for _ in range(2)
        ]
        client = await stack.enter_async_context(PartnerClient(base_url, key))
        yield Installation(name, env, control_url, http, browser, client, stack)
