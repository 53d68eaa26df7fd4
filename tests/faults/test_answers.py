"""What the client makes of every fault on the wire, judged by what upstream holds.

Single faults of the transport are in tests/partner/test_transport.py, of JSON in tests/partner/test_envelope.py; here
each one meets a read and a mutation over a real connection, with its effect and without, under a caller who repeats
whatever is called retryable.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient, errors, retries
from machines_mcp.partner.concurrency import PER_USER
from machines_mcp.redaction.secret import Secret
from tests.faults import answers
from tests.faults.holding import Holding
from tests.partner.upstream import DEADLINE, PARTNER_KEY, Answer, Upstream, good, http, refusal, upstream
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "user-1"

UNREADABLE = answers.MALFORMED | answers.LOST | answers.SLOW | answers.LARGE
IN_DOUBT = UNREADABLE | answers.FAILING
HARMLESS = answers.TURNED_AWAY | answers.TURNED_AWAY_FOR_LONG | answers.REFUSED


@pytest.fixture(autouse=True)
def without_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions as many as ever, but at once."""
    monkeypatch.setattr(retries, "_PAUSES", (0.0,) * (retries.ATTEMPTS - 1))


@pytest.fixture
async def ready(client: PartnerClient) -> PartnerClient:
    """A client whose session is there already."""
    await client.sessions.open(USER, ["cards.read", "cards.write"])
    return client


def hurry(client: PartnerClient, answer: Answer) -> None:
    """Leave little time where all of it will be used, and more than enough elsewhere."""
    if answer in answers.SLOW.values():
        client.cards._transport._deadline = DEADLINE


async def failure(work: Any) -> errors.PartnerError:
    with anyio.fail_after(PATIENCE), pytest.raises(errors.PartnerError) as caught:
        await work
    return caught.value


def each(table: Mapping[str, Answer]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("answer", table.values(), ids=table)


def kind_of(answer: Answer) -> type[errors.PartnerError]:
    tables = {
        errors.Malformed: answers.MALFORMED,
        errors.ConnectionLost: answers.LOST,
        errors.TimedOut: answers.SLOW,
        errors.TooLarge: answers.LARGE,
        errors.ServerError: answers.FAILING,
    }
    return next(kind for kind, table in tables.items() if answer in table.values())


@each(IN_DOUBT)
async def test_a_read_ends_in_the_error_of_its_fault(api: Upstream, ready: PartnerClient, answer: Answer) -> None:
    api.on("GET", "/cards", answer)
    hurry(ready, answer)
    error = await failure(ready.cards.list(USER))
    assert type(error) is kind_of(answer)
    assert error.outcome_known
    assert "canary" not in f"{error!r} {error.code} {error.field}"


@each(IN_DOUBT)
async def test_a_mutation_that_may_have_happened_is_said_to_and_is_there_once(
    api: Upstream, ready: PartnerClient, answer: Answer
) -> None:
    held = Holding(api)
    api.on("POST", "/cards", held.making(answer), held.making())
    hurry(ready, answer)
    error = await failure(ready.cards.create(USER, idempotency_key="intent-0001"))
    assert type(error) is kind_of(answer)
    assert not error.outcome_known
    assert not error.retryable
    assert len(held.cards) == 1


@each(HARMLESS)
async def test_a_mutation_that_was_refused_is_not_there(api: Upstream, ready: PartnerClient, answer: Answer) -> None:
    held = Holding(api)
    api.on("POST", "/cards", *[answer] * retries.ATTEMPTS, held.making())
    error = await failure(ready.cards.create(USER, idempotency_key="intent-0001"))
    assert error.outcome_known
    assert held.cards == []


@each(answers.TURNED_AWAY)
async def test_a_mutation_that_was_turned_away_a_few_times_is_there_once(
    api: Upstream, ready: PartnerClient, answer: Answer
) -> None:
    held = Holding(api)
    api.on("POST", "/cards", *[answer] * (retries.ATTEMPTS - 1), held.making())
    assert (await ready.cards.create(USER, idempotency_key="intent-0001")).card_id == held.cards[0]
    assert len(held.cards) == 1


@each(answers.TURNED_AWAY_FOR_LONG)
async def test_what_upstream_puts_off_for_long_is_told_at_once(
    api: Upstream, ready: PartnerClient, answer: Answer
) -> None:
    api.on("POST", "/cards", answer)
    error = await failure(ready.cards.create(USER))
    assert type(error) is errors.RateLimited
    assert error.retry_after is not None
    assert 86_000 < error.retry_after <= 86_400
    assert len(api.calls) == 1


async def test_what_an_answer_calls_itself_does_not_matter(api: Upstream, ready: PartnerClient) -> None:
    for content_type in ("text/plain", "text/html; charset=latin-1", "", "application/xml"):
        api.on("GET", "/cards", http(200, answers.OK, {"Content-Type": content_type}))
        assert (await ready.cards.list(USER)).cards == ()


async def test_bytes_too_many_are_no_answer_to_a_mutation(api: Upstream, ready: PartnerClient) -> None:
    held = Holding(api)

    async def two_answers(stream: ByteStream) -> None:
        foreign = answers.with_data(b'{"cardId":"of-another-user","status":"active","last4":"6666"}')
        await _joined(answers.OK, foreign)(stream)

    api.on("GET", "/cards", two_answers)
    api.on("POST", "/cards", held.making())
    assert (await ready.cards.list(USER)).cards == ()
    assert (await ready.cards.create(USER)).card_id == held.cards[0]


def _joined(*bodies: bytes) -> Answer:
    async def answer(stream: ByteStream) -> None:
        head = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        await stream.send(b"".join(head % len(body) + body for body in bodies))

    return answer


async def test_fifty_calls_under_a_token_that_has_expired_refresh_it_once(api: Upstream) -> None:
    held, expired = Holding(api), "header.payload.signature-canary-1"

    def under_a_good_token(answer: Answer) -> Answer:
        async def answer_or_refuse(stream: ByteStream) -> None:
            refused = api.seen[-1].token == expired
            # All that are sent at once are refused at once.
            await api.received(1 + PER_USER)
            await (refusal(401, "token_expired") if refused else answer)(stream)

        return answer_or_refuse

    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE) as client:
        await client.sessions.open(USER, ["cards.read", "cards.write"])
        api.on("POST", "/cards", under_a_good_token(held.making()))
        api.on("GET", "/cards", under_a_good_token(good(answers.CARDS)))
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(client.cards.list if number % 5 else client.cards.create, USER)
    # Reading and writing need other scopes than each other, so each asks for its own, once.
    assert len(api.mints) == 3
    assert len(held.cards) == 10


async def repeat_what_may_be_repeated(client: PartnerClient, key: str) -> errors.PartnerError | None:
    """A caller that does what the errors say, and no more; the last error, None where it went well."""
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


QUICK = {name: answer for name, answer in IN_DOUBT.items() if name not in answers.SLOW | answers.LARGE}


@pytest.mark.parametrize("honours", [True, False], ids=["keys honoured", "keys ignored"])
@pytest.mark.parametrize("runs", [15, pytest.param(1000, marks=pytest.mark.check)], ids=["a few", "a thousand"])
async def test_whatever_goes_wrong_in_whatever_order_nothing_is_doubled(runs: int, honours: bool) -> None:
    for seed in range(runs):
        # A client for each seed, since its budget for repetitions is for all of its requests.
        async with upstream() as api, PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE) as client:
            held, choice = Holding(api, honours), random.Random(seed)  # noqa: S311
            approvals = 4
            for number in range(approvals):
                script = [any_answer(choice, held) for _ in range(choice.randint(0, 6))]
                before = len(held.cards)
                api.on("POST", "/cards", *script, held.making())
                with anyio.fail_after(PATIENCE * 3):
                    error = await repeat_what_may_be_repeated(client, f"intent-{number:04}")
                made = len(held.cards) - before
                assert made <= 1, f"seed {seed}: {made} cards of one intent"
                if error is None:
                    assert made == 1, f"seed {seed}: a card that was answered is not there"
                elif error.outcome_known:
                    assert made == 0, f"seed {seed}: a card is there that was said not to be"


def any_answer(choice: random.Random, held: Holding) -> Answer:
    if choice.random() < 0.5:
        return choice.choice([*HARMLESS.values(), refusal(401)])
    answer = choice.choice([*QUICK.values()])
    return held.making(answer) if choice.random() < 0.5 else answer
