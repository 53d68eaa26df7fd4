"""The client under every network fault, judged by the upstream state.

Single transport faults are in tests/partner/test_transport.py, JSON faults in tests/partner/test_envelope.py. Here each
fault meets a read and a mutation over a connection, with and without an effect, and a caller who repeats whatever is
retryable.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient, errors, retries
from machines_mcp.partner.concurrency import PER_USER
from machines_mcp.redaction.secret import Secret
from tests.faults import fault_responses
from tests.faults.card_upstream import CardUpstream
from tests.support.partner_upstream import (
    DEADLINE,
    PARTNER_KEY,
    Answer,
    ScriptedUpstream,
    good,
    http,
    refusal,
    upstream,
)
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "user-1"

UNREADABLE = fault_responses.MALFORMED | fault_responses.LOST | fault_responses.SLOW | fault_responses.LARGE
UNKNOWN_OUTCOME = UNREADABLE | fault_responses.FAILING
HARMLESS = fault_responses.TURNED_AWAY | fault_responses.TURNED_AWAY_FOR_LONG | fault_responses.REFUSED


@pytest.fixture(autouse=True)
def without_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry as often as usual, without pauses."""
    monkeypatch.setattr(retries, "_PAUSES", (0.0,) * (retries.ATTEMPTS - 1))


@pytest.fixture
async def ready(client: PartnerClient) -> PartnerClient:
    """Return a client that already has a session."""
    await client.sessions.open(USER, ["cards.read", "cards.write"])
    return client


def set_deadline(client: PartnerClient, answer: Answer) -> None:
    """Set a short deadline if the fault will use all of it, and a long one otherwise."""
    if answer in fault_responses.SLOW.values():
        client._channel = replace(client._channel, deadline=DEADLINE)
        client.__dict__.pop("cards", None)


async def failure(work: Any) -> errors.PartnerError:
    with anyio.fail_after(PATIENCE), pytest.raises(errors.PartnerError) as caught:
        await work
    return caught.value


def each(table: Mapping[str, Answer]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("answer", table.values(), ids=table)


def kind_of(answer: Answer) -> type[errors.PartnerError]:
    tables = {
        errors.Malformed: fault_responses.MALFORMED,
        errors.ConnectionLost: fault_responses.LOST,
        errors.TimedOut: fault_responses.SLOW,
        errors.TooLarge: fault_responses.LARGE,
        errors.ServerError: fault_responses.FAILING,
    }
    return next(kind for kind, table in tables.items() if answer in table.values())


@each(UNKNOWN_OUTCOME)
async def test_read_ends_with_the_error_of_its_fault(
    api: ScriptedUpstream, ready: PartnerClient, answer: Answer
) -> None:
    api.on("GET", "/cards", answer)
    set_deadline(ready, answer)
    error = await failure(ready.cards.list(USER))
    assert type(error) is kind_of(answer)
    assert error.outcome_known
    assert "canary" not in f"{error!r} {error.code} {error.field}"


@each(UNKNOWN_OUTCOME)
async def test_mutation_with_unknown_outcome_is_reported_and_exists_once(
    api: ScriptedUpstream, ready: PartnerClient, answer: Answer
) -> None:
    held = CardUpstream(api)
    api.on("POST", "/cards", held.creating(answer), held.creating())
    set_deadline(ready, answer)
    error = await failure(ready.cards.create(USER, idempotency_key="request-0001"))
    assert type(error) is kind_of(answer)
    assert not error.outcome_known
    assert not error.retryable
    assert len(held.cards) == 1


@each(HARMLESS)
async def test_rejected_mutation_has_no_effect(api: ScriptedUpstream, ready: PartnerClient, answer: Answer) -> None:
    held = CardUpstream(api)
    api.on("POST", "/cards", *[answer] * retries.ATTEMPTS, held.creating())
    error = await failure(ready.cards.create(USER, idempotency_key="request-0001"))
    assert error.outcome_known
    assert held.cards == []


@each(fault_responses.TURNED_AWAY)
async def test_mutation_turned_away_a_few_times_exists_once(
    api: ScriptedUpstream, ready: PartnerClient, answer: Answer
) -> None:
    held = CardUpstream(api)
    api.on("POST", "/cards", *[answer] * (retries.ATTEMPTS - 1), held.creating())
    assert (await ready.cards.create(USER, idempotency_key="request-0001")).card_id == held.cards[0]
    assert len(held.cards) == 1


@each(fault_responses.TURNED_AWAY_FOR_LONG)
async def test_long_retry_after_is_reported_immediately(
    api: ScriptedUpstream, ready: PartnerClient, answer: Answer
) -> None:
    api.on("POST", "/cards", answer)
    error = await failure(ready.cards.create(USER))
    assert type(error) is errors.RateLimited
    assert error.retry_after is not None
    assert 86_000 < error.retry_after <= 86_400
    assert len(api.calls) == 1


async def test_content_type_of_a_response_does_not_matter(api: ScriptedUpstream, ready: PartnerClient) -> None:
    for content_type in ("text/plain", "text/html; charset=latin-1", "", "application/xml"):
        api.on("GET", "/cards", http(200, fault_responses.OK, {"Content-Type": content_type}))
        assert (await ready.cards.list(USER)).cards == ()


async def test_extra_bytes_are_not_taken_for_the_next_response(api: ScriptedUpstream, ready: PartnerClient) -> None:
    held = CardUpstream(api)

    async def two_answers(stream: ByteStream) -> None:
        foreign = fault_responses.with_data(b'{"cardId":"of-another-user","status":"active","last4":"6666"}')
        await _joined(fault_responses.OK, foreign)(stream)

    api.on("GET", "/cards", two_answers)
    api.on("POST", "/cards", held.creating())
    assert (await ready.cards.list(USER)).cards == ()
    assert (await ready.cards.create(USER)).card_id == held.cards[0]


def _joined(*bodies: bytes) -> Answer:
    async def answer(stream: ByteStream) -> None:
        head = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        await stream.send(b"".join(head % len(body) + body for body in bodies))

    return answer


async def test_fifty_calls_with_an_expired_token_refresh_it_once(api: ScriptedUpstream) -> None:
    held, expired = CardUpstream(api), "header.payload.signature-canary-1"

    def under_a_good_token(answer: Answer) -> Answer:
        async def answer_or_refuse(stream: ByteStream) -> None:
            refused = api.seen[-1].token == expired
            # All concurrent requests are rejected together.
            await api.received(1 + PER_USER)
            await (refusal(401, "token_expired") if refused else answer)(stream)

        return answer_or_refuse

    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE) as client:
        await client.sessions.open(USER, ["cards.read", "cards.write"])
        api.on("POST", "/cards", under_a_good_token(held.creating()))
        api.on("GET", "/cards", under_a_good_token(good(fault_responses.CARDS)))
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(client.cards.list if number % 5 else client.cards.create, USER)
    # Reads and writes need different scopes, so each mints its own session once.
    assert len(api.mints) == 3
    assert len(held.cards) == 10


async def retry_while_retryable(client: PartnerClient, key: str) -> errors.PartnerError | None:
    """Repeat while the error allows it. Return the last error, or None on success."""
    error: errors.PartnerError | None = None
    for _ in range(5):
        try:
            await client.cards.create(USER, idempotency_key=key)
        except errors.PartnerError as found:
            error = found
            if not error.retryable:
                return error
        else:
            return None
    return error


QUICK = {
    name: answer for name, answer in UNKNOWN_OUTCOME.items() if name not in fault_responses.SLOW | fault_responses.LARGE
}


@pytest.mark.parametrize("honours", [True, False], ids=["keys honoured", "keys ignored"])
@pytest.mark.parametrize(
    "runs",
    [15, pytest.param(150, marks=pytest.mark.check), pytest.param(1000, marks=pytest.mark.long)],
    ids=["a few", "some", "a thousand"],
)
async def test_random_faults_never_double_a_card(runs: int, honours: bool) -> None:
    for seed in range(runs):
        # One client per seed, because its retry budget covers all its requests.
        async with upstream() as api, PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE) as client:
            held, choice = CardUpstream(api, honours), random.Random(seed)  # noqa: S311
            approvals = 4
            for number in range(approvals):
                script = [any_answer(choice, held) for _ in range(choice.randint(0, 6))]
                before = len(held.cards)
                api.on("POST", "/cards", *script, held.creating())
                with anyio.fail_after(PATIENCE * 3):
                    error = await retry_while_retryable(client, f"request-{number:04}")
                made = len(held.cards) - before
                assert made <= 1, f"seed {seed}: {made} cards of one request"
                if error is None:
                    assert made == 1, f"seed {seed}: a confirmed card is missing"
                elif error.outcome_known:
                    assert made == 0, f"seed {seed}: a denied card exists"


def any_answer(choice: random.Random, held: CardUpstream) -> Answer:
    if choice.random() < 0.5:
        return choice.choice([*HARMLESS.values(), refusal(401)])
    answer = choice.choice([*QUICK.values()])
    return held.creating(answer) if choice.random() < 0.5 else answer
