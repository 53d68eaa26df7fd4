"""A server over stdio in `embedded` with a policy that allows everything, and its simulator's control API."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx

from tests.support.server_process import SERVER, Era, Served, call, serving
from tests.support.stdio_client import applicant
from tests.support.waiting import PATIENCE

ERA: Era = "2026-07-28"
_CLASSES = ("read", "write", "money", "identity", "consent", "destroy", "reveal")
_POLICY = """
version = 1
environment = "embedded"
[classes]
{rules}
[cards]
unbounded = true
[reveal]
sinks = ["page"]
"""
_numbers = itertools.count(1)


def policy(folder: Path) -> Path:
    """Write a policy that allows everything, which only `embedded` may."""
    path = folder / "policy.toml"
    path.write_text(_POLICY.format(rules="\n".join(f'{name} = "allow"' for name in _CLASSES)), encoding="ascii")
    path.chmod(0o600)
    return path


@dataclass
class RunningServer:
    """The server, with many concurrent calls."""

    served: Served
    state: Path
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result or error."""
        return (await self.calls([(tool, arguments)]))[0]

    async def calls(self, wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """Make all of these calls concurrently and return their responses in order."""
        numbers = await self.begin(wanted)
        await self.wait_for(numbers)
        return [self.answers[number] for number in numbers]

    async def begin(self, wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Send calls without waiting for responses."""
        numbers = [f"call-{next(_numbers)}" for _ in wanted]
        await self.served.send(*(call(ERA, n, *each) for n, each in zip(numbers, wanted, strict=True)))
        return numbers

    async def wait_for(self, numbers: Sequence[str]) -> None:
        """Wait for these responses."""
        with anyio.fail_after(PATIENCE * 2):
            while not self.answers.keys() >= set(numbers):
                message = await self.served.message()
                if "result" in message:
                    self.answers[message["id"]] = json.loads(message["result"]["content"][0]["text"])

    async def new_user(self) -> str:
        """Return a new user who may have cards."""
        user_id = f"user-{next(_numbers)}"
        await self.call("submit_kyc", user_id=user_id, **applicant())
        assert (await self.call("accept_agreements", user_id=user_id))["accepted"] is True
        return user_id

    async def control(self, path: str = "", /, **body: Any) -> Any:
        """Call the simulator's control API; without a path, read its summary."""
        url = json.loads((self.state / "embedded" / "sandbox.json").read_text(encoding="utf-8"))["control_url"]
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await (http.post(f"{url}{path}", json=body) if path else http.get(url, params={"limit": 200}))
        assert answer.is_success, answer.text
        return answer.json()["data"]

    async def break_next(self, kind: str, method: str, path: str, **more: Any) -> None:
        """Arm a fault for the next call, or for as many as `calls`."""
        await self.control("/faults", kind=kind, method=method, path=path, exact=True, **more)

    async def upstream_state(self, user_id: str, what: str = "cards") -> list[dict[str, Any]]:
        """Return what upstream holds of a user."""
        users = (await self.control())["users"]
        return next((user[what] for user in users if user["userId"] == user_id), [])


@asynccontextmanager
async def running_server(
    folder: Path, state: Path | None = None, *, command: Sequence[str] = SERVER, **settings: str
) -> AsyncIterator[RunningServer]:
    """Run a server with its logs in `folder`, over a state folder that others may share."""
    state = state or folder / "state"
    given = {"MACHINES_STATE_DIR": str(state), "MACHINES_POLICY": str(policy(folder)), "CI": "1"} | settings
    async with serving(folder, ERA, command=command, **given) as served:
        yield RunningServer(served, state)
