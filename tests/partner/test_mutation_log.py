"""The client's mutation log: what it records, and that unrecorded requests are never sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import CardLimit, PartnerClient, errors
from machines_mcp.partner.models.base import ReceivedResponse
from machines_mcp.partner.mutation_log import Mutation, Outcome
from machines_mcp.redaction.secret import Secret
from machines_mcp.tools.example_identity import example_application
from tests.support.partner_upstream import (
    DEADLINE,
    PARTNER_KEY,
    Answer,
    ScriptedUpstream,
    good,
    hang_up,
    refusal,
    stall_for,
)
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "user-1"
CARD = {"cardId": "card-0001", "status": "active", "last4": "0001", "expirationMonth": 1, "expirationYear": 2030}


class FullLog(Exception):
    """A log whose disk is full."""


@dataclass
class RecordingLog:
    """Records its calls and how many requests upstream had received at each."""

    api: ScriptedUpstream
    begun: list[Mutation] = field(default_factory=list)
    ended: list[tuple[str, Outcome, str | None, int | None]] = field(default_factory=list)
    seen_before: list[int] = field(default_factory=list)
    sent_entries: list[str] = field(default_factory=list)
    full: bool = False

    async def begin(self, mutation: Mutation) -> str:
        await anyio.lowlevel.checkpoint()
        if self.full:
            raise FullLog
        self.seen_before.append(len(self.api.calls))
        self.begun.append(mutation)
        return f"entry-{len(self.begun)}"

    def sent(self, entry_id: str) -> None:
        self.sent_entries.append(entry_id)

    async def end(
        self, entry_id: str, outcome: Outcome, *, reference: str | None = None, status: int | None = None
    ) -> None:
        self.ended.append((entry_id, outcome, reference, status))


@pytest.fixture
def log(api: ScriptedUpstream) -> RecordingLog:
    return RecordingLog(api)


@pytest.fixture
async def kept(api: ScriptedUpstream, log: RecordingLog) -> AsyncIterator[PartnerClient]:
    """Return a client with a log."""
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, mutations=log) as client:
        yield client


async def test_log_records_before_the_first_byte_and_at_the_end(
    api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog
) -> None:
    api.on("POST", "/cards", good(CARD))
    await kept.cards.create(USER, idempotency_key="request-0001")
    (begun,) = log.begun
    assert (begun.user_id, begun.operation, begun.idempotency_key) == (USER, "POST /cards", "request-0001")
    assert (begun.body, begun.keep_body, dict(begun.ids)) == (b"{}", True, {})
    assert log.seen_before == [0]
    assert log.sent_entries == ["entry-1"]
    assert log.ended == [("entry-1", "done", "card-0001", 200)]


@pytest.mark.parametrize(
    ("card_id", "reference"), [("card-0001", "card-0001"), ("short", None), ("../cards/1", None), (7, None)]
)
async def test_response_about_something_else_is_unknown_and_names_what_it_created(
    api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog, card_id: object, reference: str | None
) -> None:
    limit = {"amountCents": 9_000_000, "frequency": "allTime"}
    api.on("POST", "/cards", good(CARD | {"cardId": card_id, "limit": limit}))
    api.on("DELETE", "/cards/card-0009", good(CARD | {"cardId": card_id, "status": "canceled"}))
    with pytest.raises(errors.ResponseError):
        await kept.cards.create(USER, limit=CardLimit(amount_cents=1, frequency="allTime"))
    with pytest.raises(errors.ResponseError):
        # What the response to a change of a known card names was not created by it.
        await kept.cards.delete(USER, "card-0009")
    status = 200 if reference else None
    assert log.ended == [("entry-1", "unknown", reference, status), ("entry-2", "unknown", None, status)]


async def test_unrecorded_mutation_is_not_sent(api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog) -> None:
    log.full = True
    for change in (
        kept.cards.create(USER),
        kept.cards.update(USER, "card-0001", status="locked"),
        kept.cards.delete(USER, "card-0001"),
        kept.users.resolve(USER),
        kept.agreements.accept(USER),
    ):
        with pytest.raises(FullLog):
            await change
    assert api.calls == []
    assert log.ended == []


async def test_reads_are_not_logged(api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog) -> None:
    api.on("GET", "/cards", good({"cards": []}))
    await kept.cards.list(USER)
    await kept.sessions.open(USER, ["cards.read"])
    assert log.begun == []


APPLICATION = example_application(national_id="CANARY-0001")


@pytest.mark.parametrize(
    ("change", "operation", "kept_body", "ids"),
    [
        (lambda c: c.cards.create(USER), "POST /cards", True, {}),
        (
            lambda c: c.cards.update(USER, "card-0001", status="locked"),
            "PATCH /cards/{cardId}",
            True,
            {"cardId": "card-0001"},
        ),
        (lambda c: c.deposits.create(USER, "usdc", "base"), "POST /deposits", True, {}),
        (lambda c: c.cards.delete(USER, "card-0001"), "DELETE /cards/{cardId}", False, {"cardId": "card-0001"}),
        (lambda c: c.kyc.submit(USER, APPLICATION), "POST /kyc/applications", False, {}),
        (lambda c: c.agreements.accept(USER), "POST /agreements", False, {}),
        (lambda c: c.users.resolve(USER), "POST /users/resolve", False, {}),
    ],
)
async def test_only_bodies_without_identity_data_are_logged(
    kept: PartnerClient,
    log: RecordingLog,
    change: Callable[[PartnerClient], Awaitable[object]],
    operation: str,
    kept_body: bool,
    ids: dict[str, str],
) -> None:
    with pytest.raises(errors.PartnerError):
        await change(kept)
    (begun,) = log.begun
    assert (begun.operation, begun.keep_body, dict(begun.ids)) == (operation, kept_body, ids)
    assert log.ended == [("entry-1", "rejected", None, 404)]
    assert "CANARY" not in repr(begun)


@pytest.mark.parametrize(
    ("answer", "outcome", "status"),
    [
        (refusal(400, "invalid_request"), "rejected", 400),
        (refusal(409, "invalid_state"), "rejected", 409),
        (refusal(500, "internal"), "unknown", 500),
        (good({"cardId": "x"}), "unknown", None),
        (hang_up, "unknown", None),
    ],
    ids=["invalid", "conflict", "failure", "malformed", "lost"],
)
async def test_end_records_the_known_outcome(
    api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog, answer: Answer, outcome: Outcome, status: int | None
) -> None:
    api.on("POST", "/cards", answer)
    with pytest.raises(errors.PartnerError):
        await kept.cards.create(USER)
    assert log.ended == [("entry-1", outcome, None, status)]


async def test_request_that_never_left_is_recorded_unsent(log: RecordingLog) -> None:
    session = {
        "sessionToken": "header.payload.signature",
        "sessionId": "session-1",
        "userId": USER,
        "scopes": ["cards.write"],
    }

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/sessions"):
            return httpx.Response(200, json={"ok": True, "data": session | {"expiresAt": 2**32}})
        raise httpx.ConnectError("no way")

    transport = httpx.MockTransport(answer)
    async with PartnerClient(
        "http://127.0.0.1:9", Secret(PARTNER_KEY), mutations=log, http_transport=transport
    ) as client:
        with pytest.raises(errors.Unreachable):
            await client.cards.update(USER, "card-0001", status="locked")
    assert log.ended == [("entry-1", "unsent", None, None)]


async def test_failed_session_begins_no_mutation(api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog) -> None:
    api.on("POST", "/sessions", refusal(401, "unauthorized"))
    with pytest.raises(errors.Unauthorized):
        await kept.cards.create(USER)
    assert log.begun == []


async def test_replaced_token_does_not_log_a_second_mutation(
    api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog
) -> None:
    api.on("POST", "/cards", refusal(401, "unauthorized"), good(CARD))
    await kept.cards.create(USER)
    assert len(api.calls) == 2
    assert [entry for entry, *_ in log.ended] == ["entry-1"]
    assert log.sent_entries == ["entry-1", "entry-1"]


async def test_cancellation_after_sending_is_recorded(
    api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog
) -> None:
    released = anyio.Event()

    async def when_released(stream: ByteStream) -> None:
        await released.wait()
        await good(CARD)(stream)

    api.on("POST", "/cards", when_released)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:

            async def give_up() -> None:
                with anyio.CancelScope() as scope:
                    tasks.start_soon(cancel, scope)
                    await kept.cards.create(USER)

            async def cancel(scope: anyio.CancelScope) -> None:
                await api.received(2)
                scope.cancel()
                released.set()

            tasks.start_soon(give_up)
    assert log.ended == [("entry-1", "done", "card-0001", 200)]


async def test_logging_keeps_the_calls_deadline(api: ScriptedUpstream, log: RecordingLog) -> None:
    api.on("POST", "/cards", stall_for(DEADLINE))
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=DEADLINE, mutations=log) as client:
        with anyio.fail_after(PATIENCE), pytest.raises(errors.TimedOut) as caught:
            await client.cards.create(USER)
    assert not caught.value.outcome_known
    assert log.ended == [("entry-1", "unknown", None, None)]


async def test_internal_error_is_recorded_as_unknown(api: ScriptedUpstream, log: RecordingLog) -> None:
    def broken(answered: ReceivedResponse) -> None:
        if answered.request.mutates:
            raise ZeroDivisionError

    api.on("POST", "/cards", good(CARD))
    async with PartnerClient(
        api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, mutations=log, on_answer=broken
    ) as client:
        with pytest.raises(ZeroDivisionError):
            await client.cards.create(USER)
    assert log.ended == [("entry-1", "unknown", None, None)]


async def test_client_works_without_a_log(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("POST", "/cards", good(CARD))
    assert (await client.cards.create(USER)).card_id == "card-0001"


async def test_views_of_a_client_log_apart_and_share_its_sessions(
    api: ScriptedUpstream, kept: PartnerClient, log: RecordingLog
) -> None:
    api.on("POST", "/cards", good(CARD))
    logs = [RecordingLog(api), RecordingLog(api)]
    for number, own in enumerate(logs):
        await kept.logging_to(own).cards.create(USER, idempotency_key=f"request-000{number}")
    assert [[begun.idempotency_key for begun in own.begun] for own in logs] == [["request-0000"], ["request-0001"]]
    assert log.begun == []
    assert len([seen for seen in api.seen if seen.path == "/sessions"]) == 1
