from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient, connections, errors
from machines_mcp.redaction.secret import Secret
from tests.support.clock import advance_loop_clock
from tests.support.partner_upstream import PARTNER_KEY, Answer, ScriptedUpstream, good, refusal, stall_for
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "user-1"
CARD = {"cardId": "card-0001", "status": "active", "last4": "0001", "expirationMonth": 1, "expirationYear": 2030}


def accept_only(api: ScriptedUpstream, tokens: set[str], answer: Answer) -> Answer:
    """Respond 401 to any token that is not among these."""

    async def answer_or_refuse(stream: ByteStream) -> None:
        await (answer if api.seen[-1].token in tokens else refusal(401, "unauthorized"))(stream)

    return answer_or_refuse


async def test_rejected_token_is_replaced_and_the_request_resent_once(
    api: ScriptedUpstream, client: PartnerClient
) -> None:
    api.on("POST", "/cards", refusal(401, "unauthorized"), good(CARD))
    card = await client.cards.create(USER)
    assert card.card_id == "card-0001"
    first, second = api.calls
    assert first.token != second.token
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert (first.body, first.path) == (second.body, second.path)
    assert len(api.mints) == 2


async def test_second_rejection_is_unauthorized_and_drops_that_token(
    api: ScriptedUpstream, client: PartnerClient
) -> None:
    api.on("POST", "/cards", refusal(401, "token_expired"))
    with pytest.raises(errors.Unauthorized) as caught:
        await client.cards.create(USER)
    assert caught.value.outcome_known
    assert len(api.calls) == 2
    assert len(api.mints) == 2
    assert client.sessions.cached(USER) == []


async def test_caller_supplied_idempotency_key_is_kept(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("POST", "/cards", refusal(401, "unauthorized"), good(CARD))
    await client.cards.create(USER, idempotency_key="request-0001")
    assert [seen.headers["idempotency-key"] for seen in api.calls] == ["request-0001"] * 2


async def test_fifty_rejected_calls_mint_one_new_session(api: ScriptedUpstream, client: PartnerClient) -> None:
    await client.sessions.open(USER, ["cards.read"])
    api.on("GET", "/cards", accept_only(api, {"header.payload.signature-canary-2"}, good({"cards": []})))
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(client.cards.list, USER)
    assert len(api.mints) == 2


async def test_cached_session_older_than_the_rejected_one_is_not_tried(
    api: ScriptedUpstream, client: PartnerClient
) -> None:
    await client.sessions.open(USER, ["cards.read", "cards.write", "kyc.read"])
    await client.sessions.open(USER, ["cards.read"])
    api.on("GET", "/cards", accept_only(api, {"header.payload.signature-canary-3"}, good({"cards": []})))
    await client.cards.list(USER)
    assert len(api.calls) == 2
    assert len(client.sessions.cached(USER)) == 2


async def test_newer_cached_session_from_before_the_call_is_not_tried(
    api: ScriptedUpstream, client: PartnerClient
) -> None:
    await client.sessions.open(USER, ["cards.read"])
    await client.sessions.open(USER, ["cards.read", "cards.write", "kyc.read"])
    api.on("GET", "/cards", accept_only(api, {"header.payload.signature-canary-3"}, good({"cards": []})))
    await client.cards.list(USER)
    assert len(api.calls) == 2
    assert len(api.mints) == 3


async def test_rejected_session_is_not_used_for_other_calls(api: ScriptedUpstream, client: PartnerClient) -> None:
    await client.sessions.open(USER, ["cards.read", "cards.write"])
    api.on("GET", "/cards", refusal(401, "unauthorized"), good({"cards": []}))
    api.on("POST", "/cards", good(CARD))
    await client.cards.list(USER)
    await client.cards.create(USER)
    assert [seen.token[-1] for seen in api.calls] == ["1", "2", "3"]


async def test_late_rejection_does_not_drop_the_new_session(api: ScriptedUpstream, client: PartnerClient) -> None:
    gate = anyio.Event()

    async def late(stream: ByteStream) -> None:
        await gate.wait()
        await refusal(401, "unauthorized")(stream)

    await client.sessions.open(USER, ["cards.read"])
    api.on("GET", "/cards", late, refusal(401, "unauthorized"), good({"cards": []}))
    async with anyio.create_task_group() as group:
        group.start_soon(client.cards.list, USER)
        await api.received(2)
        await client.cards.list(USER)
        gate.set()
    assert len(api.mints) == 2
    assert len(client.sessions.cached(USER)) == 1


async def test_missing_scope_does_not_mint_a_session(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/cards", refusal(403, "forbidden"))
    with pytest.raises(errors.Forbidden):
        await client.cards.list(USER)
    assert len(api.mints) == 1


async def test_rejected_partner_key_is_not_retried(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("POST", "/users/resolve", refusal(401, "unauthorized"))
    with pytest.raises(errors.Unauthorized):
        await client.users.resolve(USER)
    assert len(api.seen) == 1


async def test_second_attempt_gets_the_remaining_time_of_the_first(
    api: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow_refusal(stream: ByteStream) -> None:
        advance_loop_clock(120)
        await refusal(401, "unauthorized")(stream)

    monkeypatch.setattr(connections, "_READ", 1000.0)
    api.on("POST", "/cards", slow_refusal, stall_for(120))
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=200) as client:
        # With a deadline of its own, the second attempt would last until 320.
        with anyio.fail_after(240 + PATIENCE), pytest.raises(errors.TimedOut) as caught:
            await client.cards.create(USER)
    assert not caught.value.outcome_known


@pytest.mark.parametrize(
    ("method", "path", "call", "known"),
    [
        ("POST", "/cards", lambda client: client.cards.create(USER), False),
        ("GET", "/cards", lambda client: client.cards.list(USER), True),
        ("POST", "/deposits/range", lambda client: client.deposits.range(USER, "rusd", "base"), True),
    ],
)
@pytest.mark.parametrize("data", [{}, {"cardId": 5}, {"cards": 5}, {"range": []}], ids=str)
async def test_malformed_data_makes_only_a_mutations_outcome_unknown(
    api: ScriptedUpstream, client: PartnerClient, method: str, path: str, call: Any, known: bool, data: dict[str, Any]
) -> None:
    api.on(method, path, good(data))
    with pytest.raises(errors.Malformed) as caught:
        await call(client)
    assert caught.value.outcome_known is known
    assert caught.value.__context__ is None
