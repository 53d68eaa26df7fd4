from __future__ import annotations

import itertools
import socket
import time
from contextlib import closing
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import ByteStream

from machines_mcp import __version__
from machines_mcp.partner import Balances, Card, PartnerClient, concurrency, connections, errors, retries
from machines_mcp.redaction.secret import Secret
from tests.support.partner_upstream import (
    DEADLINE,
    PARTNER_KEY,
    Answer,
    ScriptedUpstream,
    drip,
    good,
    hang_up,
    http,
    not_http,
    refusal,
    stall,
    stall_for,
    then_close,
    upstream,
)
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "user-1"
BALANCES = {
    "balances": {
        "spendingPower": 9500,
        "creditLimit": 10000,
        "pendingCharges": 500,
        "postedCharges": 0,
        "balanceDue": 0,
    }
}
NOWHERE = "http://127.0.0.1:9/partner/v1"
SESSION = {
    "ok": True,
    "data": {
        "sessionToken": "a.b.c",
        "sessionId": "session-1",
        "userId": USER,
        "scopes": [],
        "expiresAt": int(time.time()) + 900,
    },
}
CARD = {"cardId": "card-0001", "status": "active", "last4": "0001", "expirationMonth": 1, "expirationYear": 2030}


@pytest.fixture
def without_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry as often as usual, without pauses."""
    monkeypatch.setattr(retries, "_PAUSES", (0.0,) * len(retries._PAUSES))


def client_of(api: ScriptedUpstream, **options: Any) -> PartnerClient:
    return PartnerClient(api.base_url, Secret(PARTNER_KEY), **({"deadline": DEADLINE} | options))


@pytest.fixture
def deadline_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no timeout of one read end a call before its deadline does."""
    monkeypatch.setattr(connections, "_READ", 100 * DEADLINE)


async def read(client: PartnerClient) -> Balances:
    with anyio.fail_after(PATIENCE):
        return await client.balances.get(USER)


async def mutate(client: PartnerClient) -> Card:
    with anyio.fail_after(PATIENCE):
        return await client.cards.create(USER)


async def failure_of_read(api: ScriptedUpstream, client: PartnerClient, *answers: Answer) -> errors.PartnerError:
    api.on("GET", "/balances", *answers)
    with pytest.raises(errors.PartnerError) as caught:
        await read(client)
    return caught.value


async def failure_of_mutation(api: ScriptedUpstream, client: PartnerClient, *answers: Answer) -> errors.PartnerError:
    api.on("POST", "/cards", *answers)
    with pytest.raises(errors.PartnerError) as caught:
        await mutate(client)
    return caught.value


def cause_chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *cause_chain(error.__context__), *cause_chain(error.__cause__)]


async def endless(stream: ByteStream) -> None:
    await stream.send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await stream.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")


async def half_a_body(stream: ByteStream) -> None:
    await http(200, b"{", {"Content-Length": "2"})(stream)
    await stall_for(DEADLINE)(stream)


SLOW: dict[str, Answer] = {
    "no answer at all": stall_for(DEADLINE),
    "a body byte by byte": drip(b'{"ok":true}' + b" " * 1000, 0.5),
    "a body that stops in the middle": half_a_body,
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
async def test_slow_response_ends_at_the_deadline(api: ScriptedUpstream, answer: Answer, deadline_alone: None) -> None:
    async with client_of(api) as client:
        error = await failure_of_read(api, client, answer)
    assert type(error) is errors.TimedOut
    assert error.outcome_known


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
async def test_unanswered_mutation_has_an_unknown_outcome(
    api: ScriptedUpstream, answer: Answer, deadline_alone: None
) -> None:
    async with client_of(api) as client:
        error = await failure_of_mutation(api, client, answer)
    assert type(error) is errors.TimedOut
    assert not error.outcome_known
    assert not error.retryable


async def test_silent_attempt_times_out_before_the_deadline(api: ScriptedUpstream) -> None:
    async with client_of(api, deadline=2 * PATIENCE) as client:
        error = await failure_of_mutation(api, client, stall_for(connections._READ))
    assert type(error) is errors.TimedOut
    assert not error.outcome_known


async def test_deadline_includes_minting_the_session(api: ScriptedUpstream, deadline_alone: None) -> None:
    api.on("POST", "/sessions", stall_for(DEADLINE))
    async with client_of(api) as client:
        error = await failure_of_mutation(api, client, good(CARD))
    assert type(error) is errors.TimedOut
    assert error.outcome_known
    assert api.calls == []


async def test_cancellation_is_not_an_api_error(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/balances", stall)
    async with anyio.create_task_group() as group:
        group.start_soon(read, client)
        await api.received(2)
        group.cancel_scope.cancel()
    assert group.cancel_scope.cancelled_caught


BROKEN: dict[str, Answer] = {
    "hung up at once": hang_up,
    "half a head": then_close(lambda stream: stream.send(b"HTTP/1.1 200 X\r\nContent-")),
    "half a body": then_close(http(200, b'{"ok":', {"Content-Length": "500"})),
    "no HTTP": not_http,
    "a length that is none": http(200, b"{}", {"Content-Length": "two"}),
    "two lengths": http(200, b"{}", {"content-length": "2", "Content-Length": "3"}),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_broken_response_is_a_lost_connection(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, answer: Answer
) -> None:
    error = await failure_of_read(api, client, answer)
    assert type(error) is errors.ConnectionLost
    assert error.outcome_known
    assert cause_chain(error) == [error]


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_mutation_with_a_broken_response_has_an_unknown_outcome(
    api: ScriptedUpstream, client: PartnerClient, answer: Answer
) -> None:
    error = await failure_of_mutation(api, client, answer)
    assert type(error) is errors.ConnectionLost
    assert not error.outcome_known
    assert [seen.path for seen in api.calls] == ["/cards"]


async def test_refused_connection_means_nothing_was_sent(api: ScriptedUpstream, without_backoff: None) -> None:
    # Bound and not listening, so that no other program gets the port.
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{bound.getsockname()[1]}/partner/v1"
        async with PartnerClient(base_url, Secret(PARTNER_KEY), deadline=PATIENCE) as client:
            with pytest.raises(errors.Unreachable) as caught:
                await mutate(client)
    assert caught.value.outcome_known
    assert caught.value.retryable
    assert cause_chain(caught.value)[1:] == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP"])
async def test_compressed_response_is_rejected_unread(
    api: ScriptedUpstream, client: PartnerClient, encoding: str
) -> None:
    error = await failure_of_read(api, client, good(BALANCES, headers={"Content-Encoding": encoding}))
    assert type(error) is errors.Malformed
    assert api.calls[-1].headers["accept-encoding"] == "identity"


async def test_identity_encoded_response_is_read(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/balances", good(BALANCES, headers={"Content-Encoding": "Identity"}))
    assert (await read(client)).spending_power == 9500


LARGE: dict[str, Answer] = {
    "in one piece": http(200, b" " * 5000),
    "in chunks without end": endless,
    "one byte more": http(200, b" " * 1001),
}


@pytest.mark.parametrize("answer", LARGE.values(), ids=LARGE)
async def test_response_over_the_size_limit_is_not_read_to_the_end(api: ScriptedUpstream, answer: Answer) -> None:
    async with client_of(api, max_bytes=1000) as client:
        error = await failure_of_read(api, client, answer)
    assert type(error) is errors.TooLarge


async def test_mutation_with_an_oversized_response_has_an_unknown_outcome(api: ScriptedUpstream) -> None:
    async with client_of(api, max_bytes=1000) as client:
        error = await failure_of_mutation(api, client, endless)
    assert type(error) is errors.TooLarge
    assert not error.outcome_known


@pytest.mark.parametrize(
    "answer",
    [
        http(404, b"x" * 5000),
        http(404, b"\x1f\x8b", {"Content-Encoding": "gzip"}),
        http(404, b"<html>"),
    ],
    ids=["huge", "compressed", "HTML"],
)
async def test_error_status_counts_when_its_body_is_unusable(api: ScriptedUpstream, answer: Answer) -> None:
    async with client_of(api, max_bytes=1000) as client:
        error = await failure_of_read(api, client, answer)
    assert type(error) is errors.NotFound


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_an_error_and_gets_no_credentials(
    api: ScriptedUpstream, client: PartnerClient, status: int
) -> None:
    async with upstream() as trap:
        there = {"Location": f"{trap.base_url}/balances"}
        error = await failure_of_read(api, client, http(status, b"", there))
        assert type(error) is errors.Redirected
        error = await failure_of_mutation(api, client, http(status, b"", {"Location": f"{trap.base_url}/cards"}))
        assert type(error) is errors.Redirected
        assert not error.outcome_known
        api.on("POST", "/sessions", http(status, b"", {"Location": f"{trap.base_url}/sessions"}))
        with pytest.raises(errors.Redirected):
            await client.sessions.open(USER, ["cards.read"])
        assert trap.connections == 0


async def test_each_call_carries_only_its_own_credential(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/balances", good(BALANCES))
    await read(client)
    mint, call = api.seen
    assert mint.headers["x-partner-key"] == PARTNER_KEY
    assert "authorization" not in mint.headers
    assert call.headers["authorization"] == "Bearer header.payload.signature-canary-1"
    assert "x-partner-key" not in call.headers


async def test_cookies_are_not_sent_with_the_next_call(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/balances", good(BALANCES, headers={"Set-Cookie": "session=of-one-user; Path=/"}))
    await read(client)
    await read(client)
    assert [seen for seen in api.seen if "cookie" in seen.headers] == []


async def test_environment_does_not_affect_the_connection(
    api: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    async with upstream() as trap:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        api.on("GET", "/balances", good(BALANCES))
        async with client_of(api) as client:
            await read(client)
        assert trap.connections == 0
    assert [seen.headers.get("authorization", "")[:6] for seen in api.seen] == ["", "Bearer"]


async def test_connections_are_pooled_and_the_client_is_built_once(
    api: ScriptedUpstream, client: PartnerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[None] = []
    build = connections.Connections._build

    def counting(self: connections.Connections) -> None:
        built.append(None)
        build(self)

    monkeypatch.setattr(connections.Connections, "_build", counting)
    api.on("GET", "/balances", good(BALANCES))
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(client.balances.get, f"user-{number}")
    for _ in range(5):
        await read(client)
    assert len(built) == 1
    assert len(api.calls) == 55
    assert api.connections <= 51


ENDS: dict[str, Answer] = {
    "no answer": stall_for(DEADLINE),
    "a body that stops": half_a_body,
    "a lost connection": then_close(http(200, b'{"ok":', {"Content-Length": "500"})),
    "compressed": good(BALANCES, headers={"Content-Encoding": "gzip"}),
    "too large": endless,
    "a redirect": http(307, b"", {"Location": "/"}),
}


@pytest.mark.parametrize("send", [read, mutate])
@pytest.mark.parametrize("answer", ENDS.values(), ids=ENDS)
async def test_failed_call_returns_its_connection_to_the_pool(
    api: ScriptedUpstream, without_backoff: None, answer: Answer, send: Any
) -> None:
    async with client_of(api, max_bytes=1000) as client:
        for method, path in (("GET", "/balances"), ("POST", "/cards")):
            api.on(method, path, answer)
        for _ in range(concurrency.TOTAL + 1):
            with pytest.raises(errors.PartnerError) as caught:
                await send(client)
            assert type(caught.value) is not errors.Unreachable
        api.on("GET", "/balances", good(BALANCES))
        api.on("POST", "/cards", good(CARD))
        await send(client)


async def half_a_body_at_once(stream: ByteStream) -> None:
    await http(200, b"{", {"Content-Length": "2"})(stream)
    await stall(stream)


@pytest.mark.parametrize("send", [read, mutate])
@pytest.mark.parametrize("answer", [stall, half_a_body_at_once], ids=["before the response", "within its body"])
async def test_cancelled_call_returns_its_connection_to_the_pool(
    api: ScriptedUpstream, client: PartnerClient, answer: Answer, send: Any
) -> None:
    await client.sessions.open(USER, ["cards.write", "deposits.read"])
    for method, path in (("GET", "/balances"), ("POST", "/cards")):
        api.on(method, path, answer)
    for number in range(concurrency.TOTAL + 1):
        async with anyio.create_task_group() as group:
            group.start_soon(send, client)
            await api.received(number + 2)
            group.cancel_scope.cancel()
    api.on("GET", "/balances", good(BALANCES))
    api.on("POST", "/cards", good(CARD))
    await send(client)


async def test_requests_have_these_headers_and_no_others(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/balances", good(BALANCES))
    api.on("POST", "/cards", good(CARD))
    await read(client)
    await mutate(client)
    usual = {
        "host": f"127.0.0.1:{api.port}",
        "connection": "keep-alive",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"machines-mcp/{__version__}",
    }
    body = {"content-type": "application/json", "content-length": "2"}
    balances, card = api.calls
    assert balances.headers == usual | {"authorization": balances.headers["authorization"]}
    key = card.headers["idempotency-key"]
    assert card.headers == usual | body | {"authorization": card.headers["authorization"], "idempotency-key": key}
    assert (balances.query, card.body) == ({}, {})


async def test_request_carries_a_timeout_for_each_step() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=SESSION if request.url.path.endswith("/sessions") else {"data": BALANCES})

    async with PartnerClient(NOWHERE, Secret(PARTNER_KEY), http_transport=httpx.MockTransport(answer)) as client:
        await client.sessions.open(USER, ["deposits.read"])
    assert [request.extensions["timeout"] for request in asked] == [
        {"connect": 3.0, "read": 8.0, "write": 5.0, "pool": 2.0}
    ]


async def test_read_survives_a_pooled_connection_closed_by_the_server(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None
) -> None:
    api.on("GET", "/balances", hang_up, then_close(http(200, b'{"ok":', {"Content-Length": "500"})), good(BALANCES))
    assert (await read(client)).spending_power == 9500
    assert len(api.calls) == 3


async def test_mutation_uses_a_new_connection(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/balances", good(BALANCES))
    api.on("POST", "/cards", good(CARD))
    await client.sessions.open(USER, ["cards.write", "deposits.read"])
    for _ in range(3):
        await read(client)
        await mutate(client)
    assert api.connections == 1 + 3


@pytest.mark.parametrize("status", [429, 503])
async def test_read_is_attempted_four_times(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, status: int
) -> None:
    api.on("GET", "/balances", *[refusal(status)] * 3, good(BALANCES))
    assert (await read(client)).spending_power == 9500
    api.on("GET", "/balances", *[refusal(status)] * 4, good(BALANCES))
    with pytest.raises(errors.RateLimited if status == 429 else errors.ServerError):
        await read(client)
    assert len(api.calls) == 8


@pytest.mark.parametrize(
    "answer",
    [refusal(500), refusal(502), refusal(400), refusal(404), refusal(409), http(200, b"<html>")],
    ids=["500", "502", "400", "404", "409", "HTML"],
)
async def test_read_is_not_retried_after_other_failures(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, answer: Answer
) -> None:
    await failure_of_read(api, client, answer)
    assert len(api.calls) == 1


TURNED_AWAY: dict[str, Answer] = {
    "429": refusal(429),
    "429 with a time": refusal(429, headers={"Retry-After": "0"}),
    "503 with a time": refusal(503, headers={"Retry-After": "0"}),
}


@pytest.mark.parametrize("answer", TURNED_AWAY.values(), ids=TURNED_AWAY)
async def test_unprocessed_mutation_with_a_key_is_resent_unchanged(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, answer: Answer
) -> None:
    api.on("POST", "/cards", answer, answer, good(CARD))
    assert (await mutate(client)).card_id == "card-0001"
    first, *others = [(seen.body, seen.token, seen.headers["idempotency-key"]) for seen in api.calls]
    assert others == [first] * 2


@pytest.mark.parametrize("answer", TURNED_AWAY.values(), ids=TURNED_AWAY)
async def test_mutation_without_a_key_is_sent_once(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, answer: Answer
) -> None:
    api.on("DELETE", "/cards/card-0001", answer)
    with pytest.raises(errors.ApiError):
        await client.cards.delete(USER, "card-0001")
    assert len(api.calls) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_mutation_with_unknown_outcome_is_sent_once(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, status: int
) -> None:
    error = await failure_of_mutation(api, client, refusal(status), good(CARD))
    assert not error.outcome_known
    assert len(api.calls) == 1


async def test_later_error_does_not_settle_an_earlier_attempt(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None
) -> None:
    error = await failure_of_mutation(api, client, refusal(503, headers={"Retry-After": "0"}), refusal(409))
    assert type(error) is errors.ServerError
    assert not error.outcome_known
    error = await failure_of_mutation(api, client, refusal(429, headers={"Retry-After": "0"}), refusal(409))
    assert type(error) is errors.Conflict
    assert error.outcome_known


async def test_unprocessed_mutation_without_a_free_slot_did_not_happen(
    api: ScriptedUpstream, without_backoff: None, deadline_alone: None
) -> None:
    turned_away = anyio.Event()

    async def late(stream: ByteStream) -> None:
        await turned_away.wait()
        await refusal(429)(stream)

    async with client_of(api) as client, anyio.create_task_group() as group:
        await client.sessions.open(USER, ["cards.write", "deposits.read"])
        api.on("POST", "/cards", late)
        # One more than the remaining slots; it takes the mutation's slot when the mutation leaves.
        api.on("GET", "/balances", *[stall] * (concurrency.PER_USER - 1), stall_for(DEADLINE))
        for _ in range(concurrency.PER_USER):
            group.start_soon(time_out_reading, client)
        group.start_soon(set_after, api, 1 + concurrency.PER_USER, turned_away)
        error = await failure_of_mutation(api, client, late)
    assert type(error) is errors.RateLimited
    assert error.outcome_known
    assert [seen.method for seen in api.calls].count("POST") == 1


async def time_out_reading(client: PartnerClient) -> None:
    with pytest.raises(errors.TimedOut):
        await read(client)


async def set_after(api: ScriptedUpstream, count: int, event: anyio.Event) -> None:
    await api.received(count)
    event.set()


@pytest.mark.parametrize("status", [429, 503])
async def test_post_query_is_sent_once(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, status: int
) -> None:
    api.on("POST", "/deposits/range", refusal(status))
    with pytest.raises(errors.ApiError) as caught:
        await client.deposits.range(USER, "rusd", "base")
    assert caught.value.outcome_known
    assert len(api.calls) == 1


async def test_session_mint_is_retried_when_the_api_is_busy(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None
) -> None:
    api.on("POST", "/sessions", refusal(503), refusal(429), api.mint())
    api.on("POST", "/cards", good(CARD))
    assert (await mutate(client)).card_id == "card-0001"


async def test_read_is_retried_after_a_failed_connect(without_backoff: None) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.rpartition("/")[2])
        if len(asked) % 3:
            raise httpx.ConnectError("canary")
        return httpx.Response(200, json=SESSION if asked[-1] == "sessions" else {"ok": True, "data": BALANCES})

    async with PartnerClient(NOWHERE, Secret(PARTNER_KEY), http_transport=httpx.MockTransport(answer)) as client:
        await read(client)
    assert asked == ["sessions"] * 3 + ["balances"] * 3


async def test_mutation_with_a_key_is_retried_after_a_failed_connect(without_backoff: None) -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path.rpartition("/")[2], request.headers.get("idempotency-key")))
        if asked[-1][0] == "sessions":
            return httpx.Response(200, json=SESSION)
        if len(asked) < 4:
            raise httpx.ConnectError("canary")
        return httpx.Response(200, json={"ok": True, "data": CARD})

    async with PartnerClient(NOWHERE, Secret(PARTNER_KEY), http_transport=httpx.MockTransport(answer)) as client:
        await client.cards.create(USER, idempotency_key="request-0001")
    assert asked == [("sessions", None)] + [("cards", "request-0001")] * 3


async def test_short_retry_after_is_honoured(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    api.on("GET", "/balances", refusal(429, headers={"Retry-After": "1"}), good(BALANCES))
    monkeypatch.setattr(anyio, "sleep", sleep)
    await read(client)
    assert pauses == [1.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("60", 60),
        ("999999999", 86400),
        ("Wed, 01 Jan 2025 00:01:00 GMT", 60),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
    ],
)
async def test_retry_after_beyond_the_deadline_is_reported_without_waiting(
    api: ScriptedUpstream, header: str, seconds: float
) -> None:
    # 2025-01-01T00:00:00Z
    async with client_of(api, clock=lambda: 1735689600.0) as client:
        error = await failure_of_read(api, client, refusal(429, headers={"Retry-After": header}))
    assert type(error) is errors.RateLimited
    assert error.retry_after == seconds
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "header", [None, "soon", "-5", "1e3", "99999999999999999999", "\u0663", "Wed, 99 Foo 2025 00:00:00 GMT", "nan"]
)
async def test_invalid_retry_after_is_ignored(
    api: ScriptedUpstream, client: PartnerClient, without_backoff: None, header: str | None
) -> None:
    headers = {} if header is None else {"Retry-After": header}
    error = await failure_of_read(api, client, refusal(429, headers=headers))
    assert error.retry_after is None
    assert len(api.calls) == retries.ATTEMPTS


async def test_past_retry_after_means_now(api: ScriptedUpstream, client: PartnerClient, without_backoff: None) -> None:
    past = {"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}
    error = await failure_of_mutation(api, client, refusal(429, headers=past))
    assert error.retry_after == 0


async def test_retry_that_would_miss_the_deadline_is_not_started(
    api: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_PAUSES", (2 * PATIENCE,) * 3)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    async with client_of(api) as client:
        error = await failure_of_read(api, client, refusal(503))
    assert type(error) is errors.ServerError
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    ("raised", "kind", "known"),
    [
        (httpx.ConnectError("canary"), errors.Unreachable, True),
        (httpx.ConnectTimeout("canary"), errors.Unreachable, True),
        (httpx.PoolTimeout("canary"), errors.Unreachable, True),
        (httpx.ProxyError("canary"), errors.Unreachable, True),
        (httpx.WriteTimeout("canary"), errors.TimedOut, False),
        (httpx.ReadTimeout("canary"), errors.TimedOut, False),
        (httpx.WriteError("canary"), errors.ConnectionLost, False),
        (httpx.ReadError("canary"), errors.ConnectionLost, False),
        (httpx.RemoteProtocolError("canary"), errors.ConnectionLost, False),
        (httpx.DecodingError("canary"), errors.ConnectionLost, False),
    ],
)
async def test_httpx_errors_become_ours_without_their_text(
    without_backoff: None, raised: Exception, kind: type[errors.PartnerError], known: bool
) -> None:
    sent = itertools.count()

    def answer(request: httpx.Request) -> httpx.Response:
        next(sent)
        if request.url.path.endswith("/sessions"):
            return httpx.Response(200, json=SESSION)
        raise raised

    async with PartnerClient(NOWHERE, Secret(PARTNER_KEY), http_transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(errors.PartnerError) as caught:
            await mutate(client)
    assert type(caught.value) is kind
    assert caught.value.outcome_known is known
    assert cause_chain(caught.value) == [caught.value]
    assert next(sent) == 1 + (retries.ATTEMPTS if kind is errors.Unreachable else 1)
