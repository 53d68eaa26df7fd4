from __future__ import annotations

import time
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient, errors
from machines_mcp.partner.scopes import CARDS_READ, SCOPES
from machines_mcp.redaction.secret import Secret
from tests.support.clock import Clock
from tests.support.partner_upstream import PARTNER_KEY, Answer, ScriptedUpstream, good, http, refusal, stall
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
NOT_SCOPES = ["balances.read", "", "kyc.*", "KYC.READ"]


def open_client(api: ScriptedUpstream, **options: Any) -> PartnerClient:
    return PartnerClient(api.base_url, Secret(PARTNER_KEY), **({"deadline": PATIENCE} | options))


def after_event(answer: Answer, gate: anyio.Event) -> Answer:
    async def wait_and_answer(stream: ByteStream) -> None:
        await gate.wait()
        await answer(stream)

    return wait_and_answer


async def mint_received_and_waited_for(api: ScriptedUpstream) -> None:
    await api.received(1)
    await anyio.wait_all_tasks_blocked()


async def test_session_shows_its_scopes_and_hides_its_token(api: ScriptedUpstream, client: PartnerClient) -> None:
    before = time.time()
    session = await client.sessions.open(USER, ["kyc.write", "kyc.read"], ttl_seconds=120, label="audit")
    after = time.time()
    assert session.user_id == USER
    assert session.session_id == "session-1"
    assert set(session.scopes) == {"kyc.read", "kyc.write"}
    assert session.expires_at is not None
    assert before + 119.999 < session.expires_at.timestamp() < after + 120.001
    assert session.session_token == Secret("header.payload.signature-canary-1")
    assert "canary" not in repr(session) + str(session)
    body = api.seen[0].body
    assert body == {"userId": USER, "scopes": ["kyc.read", "kyc.write"], "ttlSeconds": 120, "sessionLabel": "audit"}


async def test_on_secret_receives_each_new_token(api: ScriptedUpstream) -> None:
    told: dict[str, float] = {}

    def tell(token: Secret, until: float) -> None:
        told[token.expose()] = until

    async with open_client(api, on_secret=tell) as client:
        await client.sessions.open(USER, ["kyc.read"])
        await client.sessions.open(USER, ["kyc.read"])
        await client.sessions.open(USER, ["kyc.read"], ttl_seconds=7200, fresh=True)
    lives = {token: round(until - time.time(), -2) for token, until in told.items()}
    assert lives == {"header.payload.signature-canary-1": 900, "header.payload.signature-canary-2": 7200}


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
async def test_token_expiry_uses_the_later_of_both_clocks(api: ScriptedUpstream, ahead: float) -> None:
    told: list[float] = []
    begun = time.time()
    upstreams = begun + 900 + ahead
    api.on("POST", "/sessions", api.mint(900 + ahead))
    async with open_client(api, on_secret=lambda _, until: told.append(until)) as client:
        await client.sessions.open(USER, ["kyc.read"])
    assert told[0] >= max(upstreams - 1, begun + 899)


async def test_scope_order_does_not_matter(api: ScriptedUpstream, client: PartnerClient) -> None:
    first = await client.sessions.open(USER, ["kyc.read", "kyc.write"])
    assert await client.sessions.open(USER, ["kyc.write", "kyc.read", "kyc.read"]) is first
    assert len(api.mints) == 1


async def test_other_scopes_or_users_get_another_session(api: ScriptedUpstream, client: PartnerClient) -> None:
    sessions = [
        await client.sessions.open(USER, ["kyc.read", "kyc.write"]),
        await client.sessions.open(USER, ["kyc.read"]),
        await client.sessions.open("user-2", ["kyc.read"]),
    ]
    assert len({session.session_id for session in sessions}) == 3
    assert [len(session.scopes) for session in client.sessions.cached(USER)] == [1, 2]
    assert [session.user_id for session in client.sessions.cached("user-2")] == ["user-2"]


async def test_fresh_session_replaces_the_cached_one(api: ScriptedUpstream, client: PartnerClient) -> None:
    await client.sessions.open(USER, ["kyc.read"])
    fresh = await client.sessions.open(USER, ["kyc.read"], fresh=True)
    assert fresh.session_id == "session-2"
    assert client.sessions.cached(USER) == [fresh]


async def test_call_uses_the_smallest_session_that_covers_it(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/cards", good({"cards": []}))
    await client.sessions.open(USER, ["cards.read", "cards.write", "kyc.read"])
    await client.sessions.open(USER, ["cards.read", "kyc.read"])
    await client.sessions.open(USER, ["kyc.read"])
    await client.cards.list(USER)
    assert set(api.scopes_of[api.calls[-1].token]) == {"cards.read", "kyc.read"}
    assert len(api.mints) == 3


async def test_uncovered_call_mints_only_its_own_scopes(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/cards", good({"cards": []}))
    await client.sessions.open(USER, ["kyc.read", "kyc.write"])
    await client.sessions.open("user-2", ["cards.read"])
    await client.cards.list(USER)
    assert api.mints[-1].body == {"userId": USER, "scopes": ["cards.read"], "ttlSeconds": 900}


async def test_balances_accept_any_session(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/balances", good(BALANCES))
    await client.sessions.open(USER, ["kyc.read"])
    await client.balances.get(USER)
    assert len(api.mints) == 1


async def test_balances_mint_deposits_read_without_a_session(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/balances", good(BALANCES))
    await client.balances.get(USER)
    assert api.mints[0].body["scopes"] == ["deposits.read"]


async def test_balances_fall_back_to_kyc_read_before_kyc_is_approved(
    api: ScriptedUpstream, client: PartnerClient
) -> None:
    api.on("POST", "/sessions", refusal(409, "conflict", message="KYC required"), api.mint())
    api.on("GET", "/balances", good(BALANCES))
    await client.balances.get(USER)
    await client.balances.get(USER)
    assert [seen.body["scopes"] for seen in api.seen if seen.path == "/sessions"] == [["deposits.read"], ["kyc.read"]]


@pytest.mark.parametrize("status", [400, 401, 403, 500])
async def test_balances_do_not_fall_back_on_other_errors(
    api: ScriptedUpstream, client: PartnerClient, status: int
) -> None:
    api.on("POST", "/sessions", refusal(status), api.mint())
    with pytest.raises(errors.ApiError) as caught:
        await client.balances.get(USER)
    assert caught.value.status == status
    assert len(api.seen) == 1


async def test_other_calls_do_not_fall_back(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("POST", "/sessions", refusal(409, "kyc_required"))
    with pytest.raises(errors.KycRequired):
        await client.cards.list(USER)
    assert len(api.seen) == 1


async def test_fifty_concurrent_calls_mint_one_session(api: ScriptedUpstream, client: PartnerClient) -> None:
    gate = anyio.Event()
    api.on("POST", "/sessions", after_event(api.mint(), gate))
    api.on("GET", "/cards", good({"cards": []}))
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(client.cards.list, USER)
        await mint_received_and_waited_for(api)
        gate.set()
    assert len(api.mints) == 1
    assert len(api.calls) == 50


async def test_waiters_survive_cancellation_of_the_minting_call(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("POST", "/sessions", stall, api.mint())
    api.on("GET", "/cards", good({"cards": []}))
    leader = anyio.CancelScope()
    finished: list[int] = []

    async def first_call() -> None:
        with leader:
            await client.cards.list(USER)

    async def later_call(number: int) -> None:
        await client.cards.list(USER)
        finished.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(first_call)
        await mint_received_and_waited_for(api)
        for number in range(20):
            group.start_soon(later_call, number)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
    assert leader.cancelled_caught
    assert sorted(finished) == list(range(20))
    assert len(api.mints) == 1


async def test_waiters_for_a_failed_mint_all_fail_after_one_request(
    api: ScriptedUpstream, client: PartnerClient
) -> None:
    gate = anyio.Event()
    api.on("POST", "/sessions", after_event(refusal(401, "unauthorized"), gate))
    failures: list[errors.PartnerError] = []

    async def call() -> None:
        try:
            await client.cards.list(USER)
        except errors.PartnerError as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(call)
        await mint_received_and_waited_for(api)
        gate.set()
    assert len(api.seen) == 1
    assert {type(failure) for failure in failures} == {errors.Unauthorized}
    assert len({id(failure) for failure in failures}) == 20
    assert {failure.status for failure in failures} == {401}


async def test_waiter_for_anothers_mint_keeps_its_own_deadline(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("POST", "/sessions", stall)
    now = anyio.current_time()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(client.sessions.acquire, USER, CARDS_READ, deadline=now + 60))
            await mint_received_and_waited_for(api)
            with pytest.raises(errors.TimedOut) as caught:
                await client.sessions.acquire(USER, CARDS_READ, deadline=anyio.current_time() + 0.1)
            group.cancel_scope.cancel()
    assert caught.value.outcome_known
    assert len(api.seen) == 1


async def test_stalled_mint_times_out_for_every_waiter(api: ScriptedUpstream) -> None:
    api.on("POST", "/sessions", stall)
    async with open_client(api, deadline=0.3) as client:
        outcomes: list[type[BaseException]] = []

        async def call() -> None:
            with pytest.raises(errors.TimedOut) as caught:
                await client.cards.create(USER)
            outcomes.append(type(caught.value))
            assert caught.value.outcome_known

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(call)
    assert outcomes == [errors.TimedOut] * 5


@pytest.mark.parametrize(("passed", "mints"), [(0.0, 1), (0.79, 1), (0.81, 2), (1.5, 2)])
async def test_session_is_replaced_after_four_fifths_of_its_lifetime(
    api: ScriptedUpstream, passed: float, mints: int
) -> None:
    clock = Clock(time.time())
    async with open_client(api, clock=clock) as client:
        await client.sessions.open(USER, ["kyc.read"], ttl_seconds=1000)
        clock.now += 1000 * passed
        assert len(client.sessions.cached(USER)) == 2 - mints
        await client.sessions.open(USER, ["kyc.read"], ttl_seconds=1000)
    assert len(api.mints) == mints


async def test_shorter_lifetime_from_the_api_counts(api: ScriptedUpstream) -> None:
    clock = Clock(time.time())
    api.on("POST", "/sessions", api.mint(ttl_seconds=100))
    async with open_client(api, clock=clock) as client:
        await client.sessions.open(USER, ["kyc.read"], ttl_seconds=1000)
        clock.now += 90
        assert client.sessions.cached(USER) == []


async def test_fast_clock_does_not_mint_for_every_call(api: ScriptedUpstream) -> None:
    clock = Clock(time.time())
    clock.now += 86_400
    async with open_client(api, clock=clock) as client:
        for _ in range(3):
            await client.sessions.open(USER, ["kyc.read"])
    assert len(api.mints) == 1


async def test_cache_is_bounded(api: ScriptedUpstream, client: PartnerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machines_mcp.partner.sessions._MAX_CACHED", 3)
    for number in range(5):
        await client.sessions.open(f"user-{number}", ["kyc.read"])
    assert [len(client.sessions.cached(f"user-{number}")) for number in range(5)] == [0, 0, 1, 1, 1]


async def test_card_secrets_scope_is_refused_before_sending(api: ScriptedUpstream, client: PartnerClient) -> None:
    with pytest.raises(errors.ScopeRefused):
        await client.sessions.open(USER, ["cards.read", "cards.secrets.read"])
    with pytest.raises(errors.ScopeRefused):
        await client.sessions.open(USER, ["cards.secrets.read"], fresh=True)
    with pytest.raises(errors.ScopeRefused):
        await client.cards.secrets_session(USER)
    with pytest.raises(errors.ScopeRefused):
        await client.cards.secrets(USER, "card-0001", Secret("session"))
    assert api.connections == 0


async def test_client_created_for_card_secrets_may_read_them(api: ScriptedUpstream) -> None:
    api.on("POST", "/cards/secrets/session", good({"sessionId": "s", "secretKey": "0" * 32}))
    async with open_client(api, card_secrets=True) as client:
        await client.cards.secrets_session(USER)
    assert api.mints[0].body["scopes"] == ["cards.secrets.read"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": "u" * 121}, "user_id"),
        ({"user_id": "user\n1"}, "user_id"),
        ({"user_id": "\ud800"}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"scopes": []}, "scopes"),
        *[({"scopes": ["kyc.read", scope]}, "scopes") for scope in NOT_SCOPES],
        ({"ttl_seconds": 59}, "ttl_seconds"),
        ({"ttl_seconds": 86401}, "ttl_seconds"),
        ({"ttl_seconds": 900.5}, "ttl_seconds"),
        ({"ttl_seconds": True}, "ttl_seconds"),
        ({"label": "l" * 121}, "session_label"),
        ({"label": ""}, "session_label"),
    ],
)
async def test_invalid_session_arguments_are_rejected_before_sending(
    api: ScriptedUpstream, client: PartnerClient, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        await client.sessions.open(**({"user_id": USER, "scopes": ["kyc.read"]} | arguments))
    assert (caught.value.field, caught.value.status) == (field, None)
    assert caught.value.__context__ is None
    assert api.connections == 0


async def test_every_scope_of_the_api_can_be_requested(api: ScriptedUpstream) -> None:
    async with open_client(api, card_secrets=True) as client:
        session = await client.sessions.open("u" * 120, SCOPES)
    assert set(session.scopes) == SCOPES


@pytest.mark.parametrize("expires_at", [None, "", "tomorrow", 1e300, "missing"])
async def test_session_without_a_usable_expiry_lasts_as_long_as_requested(
    api: ScriptedUpstream, expires_at: object
) -> None:
    data = {"sessionToken": "a.b.c", "userId": USER, "scopes": ["cards.read"], "expiresAt": expires_at, "sessionId": ""}
    api.on("POST", "/sessions", good({name: value for name, value in data.items() if value != "missing"}))
    api.on("GET", "/cards", good({"cards": []}))
    clock = Clock()
    async with open_client(api, clock=clock) as client:
        session = await client.sessions.open(USER, ["cards.read"])
        assert (session.session_id, session.expires_at) == (None, None)
        clock.advance(0.7 * 900)
        await client.cards.list(USER)
        assert len(api.seen) == 2
        clock.advance(0.2 * 900)
        await client.cards.list(USER)
        assert len(api.seen) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"sessionToken": ""},
        {"sessionToken": None},
        {"sessionToken": 5},
        {"sessionToken": "token with-canary-blank"},
        {"sessionToken": "canary\r\nX-Injected: yes"},
        {"sessionToken": "canary-ä"},
        {"sessionToken": "c" * 8193},
        {"scopes": "kyc.read"},
    ],
    ids=str,
)
async def test_unusable_session_is_malformed_and_not_quoted(
    api: ScriptedUpstream, client: PartnerClient, change: dict[str, Any]
) -> None:
    session = {"sessionToken": "a.canary.c", "sessionId": "s", "userId": USER, "scopes": ["kyc.read"]}
    api.on("POST", "/sessions", good(session | {"expiresAt": "2026-01-16T16:47:52.000Z"} | change))
    with pytest.raises(errors.Malformed) as caught:
        await client.sessions.open(USER, ["kyc.read"])
    assert caught.value.__context__ is None
    assert client.sessions.cached(USER) == []


async def test_rejected_partner_key_is_not_tried_again(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("POST", "/sessions", http(401, b""))
    with pytest.raises(errors.Unauthorized):
        await client.cards.list(USER)
    assert len(api.seen) == 1
