"""The dispatcher on two pipes: tasks, cancellation, our own requests, and the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp.shared.dispatcher import DispatchContext
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.transport_context import TransportContext

from machines_mcp.protocol import pipe_dispatcher
from machines_mcp.protocol.allowance import Allowance
from machines_mcp.protocol.exchange import AnyExchange, OneWayExchange
from machines_mcp.protocol.jsonrpc import OutgoingLines
from machines_mcp.protocol.pipe_dispatcher import PipeDispatcher
from machines_mcp.protocol.stdio import MAX_AT_ONCE, LineReader, LineWriter
from machines_mcp.redaction.output_filter import OutputFilter
from tests.support.card_numbers import card_number
from tests.support.memory_pipe import MemoryPipe
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

Message = dict[str, Any]
Handler = Callable[[AnyExchange, Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Peer(MemoryPipe):
    """A client: it sends messages and receives lines."""

    def __init__(self) -> None:
        self._sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.writes: list[bytes] = []
        self._paused = False
        self._space = anyio.Event()
        self._space.set()

    def send_raw(self, data: bytes) -> None:
        self._sent.put_nowait(data)

    def fill(self) -> None:
        """Read nothing from now on."""
        self._space = anyio.Event()

    def empty(self) -> None:
        """Read everything."""
        self._space.set()

    @property
    def free(self) -> bool:
        return self._space.is_set()

    async def ready(self) -> None:
        await self._space.wait()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def is_paused(self) -> bool:
        return self._paused

    def send(self, *messages: Message) -> None:
        self._sent.put_nowait(b"".join(json.dumps({"jsonrpc": "2.0"} | one).encode() + b"\n" for one in messages))

    def request(self, number: int | str, method: str, **params: Any) -> None:
        self.send({"id": number, "method": method, "params": params})

    def cancel(self, number: int | str) -> None:
        self.send({"method": "notifications/cancelled", "params": {"requestId": number}})

    def leave(self) -> None:
        self._sent.put_nowait(b"")

    async def next(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            return await self.received.get()

    # The server's ends.

    async def read(self) -> bytes:
        return await self._sent.get()

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        for line in data.splitlines():
            self.received.put_nowait(json.loads(line))


class Handlers:
    """Handlers by method. `seen` are the exchanges of requests, `notified` the methods of notifications."""

    def __init__(self) -> None:
        self.by_method: dict[str, Handler] = {}
        self.seen: dict[int | str | None, AnyExchange] = {}
        self.notified: list[str] = []

    async def request(
        self, exchange: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        self.seen[exchange.request_id] = exchange
        return await self.by_method[method](exchange, params or {})

    async def notification(
        self, exchange: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None
    ) -> None:
        self.notified.append(method)


@asynccontextmanager
async def running(handlers: Handlers, drain_seconds: float = 0.0) -> AsyncIterator[Peer]:
    """Run a dispatcher for the block. The client leaves at its end."""
    peer = Peer()
    writer = LineWriter(OutgoingLines(OutputFilter()), peer)
    dispatcher = PipeDispatcher(LineReader(peer, writer, drain_seconds, lambda: None), writer)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.run, handlers.request, handlers.notification)
            yield peer
            peer.leave()


class Waiting:
    """A handler that waits until it may answer."""

    def __init__(self, *, shielded: bool = False) -> None:
        self.begun, self.may_end, self.cancelled = anyio.Event(), anyio.Event(), anyio.Event()
        self._shielded = shielded

    async def __call__(self, exchange: AnyExchange, params: Mapping[str, Any]) -> dict[str, Any]:
        self.begun.set()
        try:
            with anyio.CancelScope(shield=self._shielded):
                await self.may_end.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise
        return {"ended": True}


async def _answer(exchange: AnyExchange, params: Mapping[str, Any]) -> dict[str, Any]:
    return dict(params)


@pytest.fixture
def handlers() -> Handlers:
    found = Handlers()
    found.by_method["echo"] = _answer
    return found


async def test_each_request_gets_one_task_and_one_response(handlers: Handlers) -> None:
    waiting = handlers.by_method["wait"] = Waiting()
    async with running(handlers) as peer:
        before = len(asyncio.all_tasks())
        for number in range(50):
            peer.request(number, "wait")
        await waiting.begun.wait()
        while len(handlers.seen) < 50:
            await anyio.lowlevel.checkpoint()
        assert len(asyncio.all_tasks()) == before + 50
        waiting.may_end.set()
        assert {(await peer.next())["id"] for _ in range(50)} == set(range(50))
        assert len(peer.writes) == 1
        assert peer.received.empty()


async def test_a_request_during_another_is_answered_first(handlers: Handlers) -> None:
    waiting = handlers.by_method["wait"] = Waiting()
    async with running(handlers) as peer:
        peer.request("slow", "wait")
        peer.request(2, "echo", a=1)
        assert await peer.next() == {"jsonrpc": "2.0", "id": 2, "result": {"a": 1}}
        waiting.may_end.set()
        assert (await peer.next())["id"] == "slow"


async def test_initialize_is_handled_before_the_next_request(handlers: Handlers) -> None:
    waiting = handlers.by_method["initialize"] = Waiting()
    async with running(handlers) as peer:
        peer.request(1, "initialize")
        peer.request(2, "echo")
        await waiting.begun.wait()
        assert list(handlers.seen) == [1]
        waiting.may_end.set()
        assert [(await peer.next())["id"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(("asked", "cancelled"), [(7, 7), (7, "7"), ("7", 7), ("a", "a")])
async def test_a_cancelled_request_gets_no_response(handlers: Handlers, asked: int | str, cancelled: int | str) -> None:
    waiting = handlers.by_method["wait"] = Waiting()
    async with running(handlers) as peer:
        peer.request(asked, "wait")
        await waiting.begun.wait()
        peer.cancel(cancelled)
        await waiting.cancelled.wait()
        assert handlers.seen[asked].cancel_requested.is_set()
        peer.request("after", "echo")
        assert (await peer.next())["id"] == "after"
    assert peer.received.empty()
    assert handlers.notified == ["notifications/cancelled"]


async def test_a_cancel_means_the_request_whose_id_it_writes(handlers: Handlers) -> None:
    waiting = handlers.by_method["wait"] = Waiting()
    async with running(handlers) as peer:
        for number in ("5", 5, "1_0", 10):
            peer.request(number, "wait")
        await waiting.begun.wait()
        peer.cancel("5")
        peer.cancel("1_0")
        await waiting.cancelled.wait()
        waiting.may_end.set()
        assert {(await peer.next())["id"] for _ in range(2)} == {5, 10}
    assert peer.received.empty()


@pytest.mark.parametrize("ids", [(5, 5), ("5", 5)])
async def test_requests_with_one_id_are_all_ended(handlers: Handlers, ids: tuple[int | str, int | str]) -> None:
    waiting = handlers.by_method["wait"] = Waiting()
    async with running(handlers) as peer:
        for number in ids:
            peer.request(number, "wait")
        await waiting.begun.wait()
        peer.leave()
    assert [(await peer.next())["error"]["code"] for _ in ids] == [-32000, -32000]


async def test_the_end_waits_for_each_request_with_the_same_id(handlers: Handlers) -> None:
    waiting = handlers.by_method["wait"] = Waiting()
    async with running(handlers, drain_seconds=PATIENCE) as peer:
        peer.request(5, "wait")
        peer.request(5, "echo")
        peer.leave()
        assert "result" in await peer.next()
        waiting.may_end.set()
        assert await peer.next() == {"jsonrpc": "2.0", "id": 5, "result": {"ended": True}}


async def test_many_requests_are_answered_a_few_at_a_time(handlers: Handlers) -> None:
    async with running(handlers) as peer:
        peer.send(*({"id": number, "method": "echo"} for number in range(1000)))
        for number in range(1000):
            assert (await peer.next())["id"] == number
        assert 1000 / MAX_AT_ONCE <= len(peer.writes) <= 1000


async def test_nothing_is_passed_on_while_the_client_does_not_read(handlers: Handlers) -> None:
    async with running(handlers) as peer:
        peer.fill()
        peer.send(*({"id": number, "method": "echo"} for number in range(1000)))
        await anyio.wait_all_tasks_blocked()
        assert len(handlers.seen) == 0
        peer.empty()
        for number in range(1000):
            assert (await peer.next())["id"] == number


async def test_blank_lines_take_no_place(handlers: Handlers) -> None:
    async with running(handlers) as peer:
        peer.fill()
        peer.send_raw(b"\n \r\n" * 100_000)
        await anyio.wait_all_tasks_blocked()
        assert not peer.is_paused()
        peer.send(*({"id": number, "method": "echo"} for number in range(5000)))
        await anyio.wait_all_tasks_blocked()
        assert peer.is_paused()
        peer.empty()
        assert [(await peer.next())["id"] for _ in range(5000)] == list(range(5000))
        assert not peer.is_paused()


async def test_shielded_work_of_a_cancelled_request_ends_without_a_response(handlers: Handlers) -> None:
    waiting = handlers.by_method["wait"] = Waiting(shielded=True)
    async with running(handlers) as peer:
        peer.request(1, "wait")
        await waiting.begun.wait()
        peer.cancel(1)
        peer.cancel("nobody")
        peer.request(2, "echo")
        assert (await peer.next())["id"] == 2
        waiting.may_end.set()
    assert not waiting.cancelled.is_set()
    assert peer.received.empty()


async def test_requests_at_the_end_are_cancelled_and_told_so(handlers: Handlers) -> None:
    waiting = handlers.by_method["wait"] = Waiting()
    shielded = handlers.by_method["shielded"] = Waiting(shielded=True)
    async with running(handlers) as peer:
        peer.request(1, "wait")
        peer.request(2, "shielded")
        await waiting.begun.wait()
        await shielded.begun.wait()
        peer.leave()
        await waiting.cancelled.wait()
        shielded.may_end.set()
    assert not shielded.cancelled.is_set()
    found = {message["id"]: message for message in [await peer.next(), await peer.next()]}
    assert found[1]["error"] == {"code": -32000, "message": "Connection closed"}
    assert found[2].keys() == {"jsonrpc", "id", "result"} or found[2]["error"]["code"] == -32000


async def test_an_unexpected_exception_is_a_constant_error(handlers: Handlers) -> None:
    async def broken(exchange: AnyExchange, params: Mapping[str, Any]) -> dict[str, Any]:
        raise RuntimeError("canary-7f3a")

    handlers.by_method["broken"] = broken
    async with running(handlers) as peer:
        peer.request(1, "broken")
        assert await peer.next() == {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "Internal error"}}


def _asking(opts: dict[str, Any] | None = None) -> Handler:
    async def ask(exchange: AnyExchange, params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"found": await exchange.send_raw_request("elicitation/create", {"a": 1}, opts)}  # type: ignore[arg-type]
        except MCPError as error:
            return {"code": error.error.code}

    return ask


@pytest.mark.parametrize(
    ("response", "result"),
    [
        ({"result": {"action": "accept"}}, {"found": {"action": "accept"}}),
        ({"result": {}}, {"found": {}}),
        ({"result": None}, {"found": {}}),
        ({"error": {"code": -1, "message": "no"}}, {"code": -1}),
        ({"error": "no"}, {"code": -32603}),
        ({"error": {"code": "x"}}, {"code": -32603}),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
async def test_a_question_gets_the_clients_response(
    handlers: Handlers, response: Message, result: Message, as_text: bool
) -> None:
    handlers.by_method["ask"] = _asking()
    async with running(handlers) as peer:
        peer.request(1, "ask")
        asked = await peer.next()
        assert asked == {"jsonrpc": "2.0", "id": asked["id"], "method": "elicitation/create", "params": {"a": 1}}
        peer.send({"id": "nobody"} | response, {"id": str(asked["id"]) if as_text else asked["id"]} | response)
        peer.send({"id": asked["id"]} | response)
        assert (await peer.next())["result"] == result


async def test_a_question_of_a_cancelled_request_is_taken_back(handlers: Handlers) -> None:
    handlers.by_method["ask"] = _asking()
    async with running(handlers) as peer:
        peer.request(1, "ask")
        asked = await peer.next()
        peer.cancel(1)
        told = await peer.next()
        assert (told["method"], told["params"]["requestId"]) == ("notifications/cancelled", asked["id"])


async def test_a_question_ends_after_its_time_or_with_the_client(handlers: Handlers) -> None:
    handlers.by_method["ask"] = _asking({"timeout": 0.01})
    async with running(handlers) as peer:
        peer.request(1, "ask")
        asked = await peer.next()
        assert (await peer.next())["params"] == {"requestId": asked["id"], "reason": "timed out"}
        assert (await peer.next())["result"] == {"code": -32001}


async def test_nothing_is_sent_for_a_request_after_its_response(handlers: Handlers) -> None:
    async with running(handlers) as peer:
        peer.request(1, "echo", _meta={"progressToken": "t"})
        await peer.next()
        exchange = handlers.seen[1]
        await exchange.progress(0.5)
        await exchange.notify("notifications/message", {})
        assert not exchange.can_send_request
        with pytest.raises(NoBackChannelError):
            await exchange.send_raw_request("elicitation/create", {})
        peer.request(2, "echo")
        assert (await peer.next())["id"] == 2


@pytest.mark.parametrize(("token", "told"), [("t", True), (7, True), (True, False), ([1], False), (None, False)])
async def test_progress_goes_to_a_client_that_gave_a_token(handlers: Handlers, token: Any, told: bool) -> None:
    async def work(exchange: AnyExchange, params: Mapping[str, Any]) -> dict[str, Any]:
        one_way = OneWayExchange(exchange)
        with pytest.raises(NoBackChannelError):
            await one_way.send_raw_request("elicitation/create", {})
        await one_way.progress(0.5, 1.0, "half")
        return {}

    handlers.by_method["work"] = work
    async with running(handlers) as peer:
        peer.request(1, "work", _meta={"progressToken": token})
        if told:
            params = {"progressToken": token, "progress": 0.5, "total": 1.0, "message": "half"}
            assert await peer.next() == {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        assert await peer.next() == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_each_response_shows_what_its_own_request_allows(handlers: Handlers) -> None:
    number, waiting = card_number(), Waiting()

    async def show(exchange: AnyExchange, params: Mapping[str, Any]) -> dict[str, Any]:
        allowance: Allowance = exchange.message_metadata.request_context  # type: ignore[union-attr]
        if params["allowed"]:
            allowance.allow([number])
        await waiting(exchange, params)
        return {"allowed": params["allowed"], "memo": number}

    handlers.by_method["show"] = show
    async with running(handlers) as peer:
        # Equal ids at the same time: each response is its own request's.
        for allowed in (True, False, True, False):
            peer.request(1, "show", allowed=allowed)
        peer.request("1", "show", allowed=False)
        await waiting.begun.wait()
        waiting.may_end.set()
        for _ in range(5):
            result = (await peer.next())["result"]
            assert (result["memo"] == number) is result["allowed"]


async def test_more_requests_than_may_run_wait_for_an_end(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_dispatcher, "MAX_RUNNING", 3)
    waiting = handlers.by_method["wait"] = Waiting()
    async with running(handlers) as peer:
        for number in range(5):
            peer.request(number, "wait")
        await anyio.wait_all_tasks_blocked()
        assert list(handlers.seen) == [0, 1, 2]
        waiting.may_end.set()
        assert [(await peer.next())["id"] for _ in range(5)] == list(range(5))
