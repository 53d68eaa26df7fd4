"""A server process on stdio, spoken to in JSON lines with many concurrent calls. Every byte of its output is kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import signal
import sys
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec

from machines_mcp.server.settings_reader import read_settings
from tests.leaks.canaries import Canaries
from tests.leaks.upstream import ProxyUpstream
from tests.support.waiting import PATIENCE

Era = Literal["2025-11-25", "2026-07-28"]
ERAS: tuple[Era, ...] = ("2025-11-25", "2026-07-28")

POLICY = """
version = 1
environment = "sandbox"
users = "any"

[cards]
unbounded = true

[reveal]
sinks = ["page", "sealed"]
sealed_key = "{key}"

"""

Answer = dict[str, Any]
"""A dialog's answer: `{"result": ...}` or `{"error": ...}`."""


@dataclass
class RecordedServer:
    """A running server. `stdout` is its whole output; `on_question` answers the server's own requests."""

    process: Process
    era: Era
    folder: Path
    dialog: bool
    on_question: Callable[[str], Answer]
    stdout: bytearray = field(default_factory=bytearray)
    notified: Counter[str] = field(default_factory=Counter)
    seen_in_proc: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._unasked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._next = 0
        self._reading = asyncio.create_task(self._read())
        self._watching = asyncio.create_task(self._watch())

    @property
    def stderr(self) -> Path:
        """The path of its standard error."""
        return self.folder / "stderr"

    @property
    def ended(self) -> bool:
        """Whether its output has ended."""
        return self._reading.done()

    def new_id(self) -> str:
        """Return an unused request id."""
        self._next += 1
        return f"r{self._next}"

    def send_line(self, line: bytes) -> None:
        """Send a line, valid or not."""
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(line + b"\n")

    def notify(self, message: Mapping[str, Any]) -> None:
        """Send a message that gets no response."""
        self.send_line(json.dumps(message).encode())

    def request(self, method: str, params: Mapping[str, Any], *, number: str, meta: Mapping[str, Any] = {}) -> bytes:
        """Return a request's line in the form of the protocol era."""
        given = dict(params)
        ours = dict(meta) | (self._envelope() if self.era == "2026-07-28" else {})
        if ours:
            given["_meta"] = ours
        return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": given}).encode()

    async def send_request(
        self, method: str, params: Mapping[str, Any], *, meta: Mapping[str, Any] = {}
    ) -> dict[str, Any]:
        """Send a request and wait for its response."""
        number = self.new_id()
        return await self.response_to(number, self.request(method, params, number=number, meta=meta))

    async def response_to(self, number: str, line: bytes) -> dict[str, Any]:
        """Send a line and wait for the response with that id. Return `{}` if the server ends first."""
        found: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = found
        if self.ended:
            return {}
        self.send_line(line)
        async with asyncio.timeout(PATIENCE):
            return await found

    async def unmatched_response(self) -> dict[str, Any]:
        """Return the next response without a known id, as for a malformed line."""
        async with asyncio.timeout(PATIENCE):
            return await self._unasked.get()

    def forget(self, number: str) -> None:
        """Expect no response, because the request was cancelled."""
        found = self._waiting.pop(number, None)
        if found is not None and not found.done():
            found.set_result({})

    async def call(self, tool: str, arguments: object, **more: Any) -> dict[str, Any]:
        """Call a tool and answer its question, if any."""
        params = {"name": tool, "arguments": arguments}
        answer = await self.send_request("tools/call", params, **more)
        result = answer.get("result", {})
        if not isinstance(result, dict) or result.get("resultType") != "input_required":
            return answer
        requests = result.get("inputRequests", {})
        responses = {name: self._responded(requests[name]) for name in requests}
        again = params | {"inputResponses": responses, "requestState": result.get("requestState")}
        return await self.send_request("tools/call", again, **more)

    def _responded(self, request: dict[str, Any]) -> Any:
        return self.on_question(str(request.get("params", {}).get("message", ""))).get("result", {"action": "cancel"})

    async def greet(self) -> None:
        """Perform the handshake."""
        if self.era == "2025-11-25":
            client = {"name": "leaks", "version": "0"}
            hello = {"protocolVersion": self.era, "capabilities": self._capabilities(), "clientInfo": client}
            await self.send_request("initialize", hello)
            self.notify({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _capabilities(self) -> dict[str, Any]:
        return {"elicitation": {}} if self.dialog else {}

    def _envelope(self) -> dict[str, Any]:
        return {
            "io.modelcontextprotocol/protocolVersion": self.era,
            "io.modelcontextprotocol/clientInfo": {"name": "leaks", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": self._capabilities(),
        }

    async def _read(self) -> None:
        assert self.process.stdout is not None
        begun = 0
        while chunk := await self.process.stdout.read(1 << 18):
            self.stdout += chunk
            while (end := self.stdout.find(b"\n", begun)) >= 0:
                self._take(bytes(self.stdout[begun:end]))
                begun = end + 1
        for found in self._waiting.values():
            if not found.done():
                found.set_result({})

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            self.notified["a line that is no JSON"] += 1
            return
        number = message.get("id")
        if "method" not in message:
            found = self._waiting.pop(str(number), None)
            if found is None:
                self._unasked.put_nowait(message)
            elif not found.done():
                found.set_result(message)
        elif number is None:
            self.notified[str(message["method"])] += 1
        else:
            question = str(message.get("params", {}).get("message", ""))
            self.notify({"jsonrpc": "2.0", "id": number} | self.on_question(question))

    async def _watch(self) -> None:
        """Poll the arguments and environments of the server and its children, as `ps` and /proc show them."""
        while sys.platform == "linux":
            self.seen_in_proc |= _seen(self.process.pid)
            await asyncio.sleep(0.05)

    async def end(self, *, kill: bool) -> None:
        """End the server by SIGKILL or by closing its stdin."""
        self._watching.cancel()
        if kill:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self._reading
                await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def _seen(pid: int) -> set[bytes]:
    seen: set[bytes] = set()
    for known in _tree(pid):
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                seen.add(Path(f"/proc/{known}/{name}").read_bytes())
    return seen


def _tree(pid: int) -> list[int]:
    found = [pid]
    for known in found:
        with suppress(OSError):
            for task in Path(f"/proc/{known}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return found


@asynccontextmanager
async def serving(
    folder: Path,
    era: Era,
    upstream: ProxyUpstream,
    *,
    on_question: Callable[[str], Answer],
    dialog: bool = True,
    python: str = sys.executable,
    tree: Path | None = None,
    pinned: str | None = None,
    policy: str = POLICY,
    arguments: Sequence[str] = ("serve",),
    **settings: str,
) -> AsyncIterator[RecordedServer]:
    """Run a server with this upstream, a fresh state folder and maximum verbosity, and kill it when the block ends.

    The state folder is `folder/state`, its log is in `folder/stderr` and its trace in `folder/trace`. `python` runs it,
    in `tree` if given.
    """
    env = prepared(folder, upstream, pinned=pinned, policy=policy, **settings)
    with (folder / "stderr").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(python, "-m", "machines_mcp", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=env,
            cwd=tree or folder,
            limit=1 << 20,
        )
    server = RecordedServer(process, era, folder, dialog, on_question)
    try:
        async with asyncio.timeout(PATIENCE):
            await server.greet()
        yield server
    finally:
        await server.end(kill=True)


def prepared(
    folder: Path, upstream: ProxyUpstream, *, pinned: str | None = None, policy: str = POLICY, **settings: str
) -> dict[str, str]:
    """Return a server's environment after writing the files it names: key, policy and passphrase."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    canaries: Canaries = upstream.canaries
    public = folder / "sealed.pub"
    for name, text in (
        ("key", canaries.partner_key),
        # Nobody listens there, so what is read of the chain fails.
        ("node", f"http://127.0.0.1:9/v3/{canaries.node_key}"),
        ("policy.toml", policy.replace("{key}", str(public))),
        (public.name, public_key()),
    ):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
    ours = {
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": upstream.base_url,
        "MACHINES_PARTNER_KEY_FILE": str(folder / "key"),
        "MACHINES_RPC_URL_84532_FILE": str(folder / "node"),
        "MACHINES_STATE_DIR": str(folder / "state"),
        "MACHINES_LOG_LEVEL": "DEBUG",
        "MACHINES_TRACE": str(folder / "trace"),
    }
    ours |= {"MACHINES_USER_ID": pinned} if pinned is not None else {"MACHINES_POLICY": str(folder / "policy.toml")}
    ours |= settings
    _set_passphrase(read_settings(ours).state_dir / "keys", canaries.passphrase)
    return {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")} | ours


def _set_passphrase(keys: Path, passphrase: str) -> None:
    """Write a verifier like `machines-mcp passphrase` does, which would prompt on a terminal."""
    keys.mkdir(mode=0o700, parents=True)
    keys.parent.chmod(0o700)
    salt = secrets.token_bytes(16)
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=2**15, r=8, p=1, maxmem=64 * 1024 * 1024, dklen=32)
    path = keys / "passphrase.json"
    path.write_text(json.dumps({"salt": salt.hex(), "key": key.hex(), "set_at": time.time()}), encoding="ascii")
    path.chmod(0o600)


def public_key() -> str:
    """Return a key to which cards may be sealed. The private half is discarded."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode() for number in (point.x, point.y))
    return json.dumps({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "enc"})
