"""The client against the sandbox over HTTP. The two share no code, and the contract validates both sides."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator

import anyio
import httpx
import pytest

from machines_mcp.partner import (
    CardLimit,
    KycApplication,
    PartnerClient,
    Withdrawal,
    WithdrawalOrder,
    WithdrawalRoute,
    errors,
)
from machines_mcp.partner.mutation_log import Mutation, Outcome
from machines_mcp.redaction.secret import Secret
from machines_mcp.tools.example_identity import example_application
from tests.contract.judge import contract
from tests.support.running_sandbox import Sandbox, in_thread
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

DESTINATION = "0x" + "2b" * 20


class ContractTransport(httpx.AsyncHTTPTransport):
    """Fails on any request or response that violates the contract."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.paths: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        self.paths.append(path.removeprefix("/partner/v1"))
        body = json.loads(request.content) if request.content else None
        query = dict(request.url.params)
        faults = contract().request_violations(method, path, headers=dict(request.headers), query=query, body=body)
        response = await super().handle_async_request(request)
        answer = json.loads(await response.aread())
        faults += contract().response_violations(method, path, response.status_code, answer)
        assert faults == []
        return response


@pytest.fixture
def wire() -> ContractTransport:
    return ContractTransport()


@pytest.fixture
async def client(sandbox: Sandbox, wire: ContractTransport) -> AsyncIterator[PartnerClient]:
    key = Secret(sandbox.partner_key)
    with anyio.fail_after(PATIENCE):
        client = PartnerClient(sandbox.base_url, key, deadline=PATIENCE, card_secrets=True, http_transport=wire)
        async with client as partner:
            yield partner


@pytest.fixture
def user() -> str:
    return f"user-{uuid.uuid4()}"


def application(last_name: str = "Approved") -> KycApplication:
    return example_application(last_name=last_name)


async def onboarded(client: PartnerClient, user: str) -> None:
    await client.users.resolve(user, wallet_address=DESTINATION)
    await client.kyc.submit(user, application())
    await client.agreements.accept(user)


async def control(sandbox: Sandbox, path: str, body: dict[str, object]) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(sandbox.control_url + path, json=body)
    assert answer.status_code == 200


async def funded(client: PartnerClient, user: str, sandbox: Sandbox, dollars: float) -> None:
    deposit = await client.deposits.create(user, "rusd", "base", amount=dollars)
    await control(sandbox, "/deposits", {"depositId": deposit.id})
    assert (await client.deposits.get(user, deposit.id)).deposit_address == deposit.deposit_address
    assert (await client.balances.get(user)).spending_power == dollars * 100


async def signed(client: PartnerClient, user: str, order: WithdrawalOrder) -> Withdrawal:
    with anyio.fail_after(PATIENCE):
        while True:
            withdrawal = await client.withdrawals.create(user, order, idempotency_key=f"request-{user}")
            if withdrawal.status != "pending":
                return withdrawal
            assert withdrawal.retry_after_seconds is not None
            await anyio.sleep(min(withdrawal.retry_after_seconds, 1))


async def test_new_user_reaches_card_secrets(client: PartnerClient, user: str, sandbox: Sandbox) -> None:
    person = await client.users.resolve(user, wallet_address="0x" + "AB" * 20)
    assert (person.user_id, person.wallet_address, person.kyc_status) == (user, "0x" + "ab" * 20, "not_submitted")
    assert {field.name for field in (await client.kyc.values(user)).fields} >= {"firstName", "nationalId"}
    assert (await client.kyc.submit(user, application())).status == "approved"
    assert not (await client.agreements.get(user)).accepted
    assert (await client.agreements.accept(user)).accepted_at is not None

    assert [asset.ticker for asset in (await client.deposits.assets(user, q="rusd")).assets] == ["rusd"]
    assert (await client.deposits.range(user, "rusd", "base")).from_currency == "rusd"
    estimate = await client.deposits.estimate(user, "rusd", "base", 100)
    assert (estimate.quoted_amount, estimate.quoted_amount_currency) == (100, "crypto")
    await funded(client, user, sandbox, 100)
    assert len((await client.deposits.list(user, scope="all")).deposits) == 1

    label = await client.encryption.encrypt(user, "Grüße 🛒")
    card = await client.cards.create(
        user, encrypted_name=label, limit=CardLimit(amount_cents=2500, frequency="per30DayPeriod")
    )
    assert card.limit is not None
    assert card.limit.amount_cents == 2500
    assert card.encrypted_name is not None
    assert await client.encryption.decrypt(user, card.encrypted_name) == "Grüße 🛒"
    assert (await client.cards.update(user, card.card_id, status="locked")).status == "locked"
    assert (await client.cards.get(user, card.card_id)).status == "locked"
    assert [one.card_id for one in (await client.cards.list(user, limit=1)).cards] == [card.card_id]

    session = await client.cards.secrets_session(user)
    secrets = await client.cards.secrets(user, card.card_id, session.session_id)
    assert (secrets.expiration_month, secrets.expiration_year) == (card.expiration_month, card.expiration_year)
    assert len(session.secret_key.expose()) == 32
    assert (await client.cards.delete(user, card.card_id)).status == "canceled"
    assert [type(row.amount_cents) for row in (await client.transactions.list(user)).transactions] == [int]


async def test_withdrawal_quote_is_pending_and_then_signed(client: PartnerClient, user: str, sandbox: Sandbox) -> None:
    await onboarded(client, user)
    await funded(client, user, sandbox, 60)
    assert (await client.withdrawals.assets(user)).assets
    route = WithdrawalRoute(currency="rusd", network="base")
    assert (await client.withdrawals.range(user, route)).from_currency == "rusd"
    assert (await client.withdrawals.estimate(user, route, 5000)).from_amount_cents == 5000
    order = WithdrawalOrder(amount_cents=5000, currency="rusd", network="base", address=DESTINATION)
    withdrawal = await signed(client, user, order)
    assert withdrawal.status == "ready"
    assert isinstance(withdrawal.parameters, list)
    assert len(withdrawal.parameters) == 7
    assert withdrawal.expires_at is not None
    assert withdrawal.execution is not None
    assert withdrawal.execution.call_target
    assert await client.withdrawals.create(user, order, idempotency_key=f"request-{user}") == withdrawal


async def test_each_precondition_has_its_own_error(client: PartnerClient, user: str) -> None:
    with pytest.raises(errors.KycRequired):
        await client.cards.list(user)
    with pytest.raises(errors.KycRequired):
        await client.agreements.get(user)
    await client.kyc.submit(user, application())
    for call in (client.cards.create(user), client.deposits.create(user, "rusd", "base")):
        with pytest.raises(errors.InvalidState) as caught:
            await call
        assert (caught.value.status, caught.value.outcome_known) == (409, True)
    await client.agreements.accept(user)
    with pytest.raises(errors.NotFound):
        await client.cards.get(user, str(uuid.uuid4()))


async def test_balances_can_be_read_before_kyc_is_approved(client: PartnerClient, user: str) -> None:
    assert (await client.balances.get(user)).spending_power == 0
    assert [set(session.scopes) for session in client.sessions.cached(user)] == [{"kyc.read"}]


async def test_rejected_field_is_named(client: PartnerClient, user: str) -> None:
    wrong = application().model_copy(update={"occupation": "99-9999"})
    with pytest.raises(errors.InvalidRequest) as caught:
        await client.kyc.submit(user, wrong)
    assert (caught.value.status, caught.value.field) == (400, "occupation")


async def test_same_idempotency_key_returns_the_same_card(client: PartnerClient, user: str) -> None:
    await onboarded(client, user)
    cards = [await client.cards.create(user, idempotency_key=f"request-{user}") for _ in range(3)]
    assert len({card.card_id for card in cards}) == 1
    assert len((await client.cards.list(user)).cards) == 1
    with pytest.raises(errors.Conflict) as caught:
        await client.cards.create(
            user, limit=CardLimit(amount_cents=1, frequency="allTime"), idempotency_key=f"request-{user}"
        )
    assert caught.value.code == "idempotency_conflict"


class ReferenceLog:
    """A mutation log that records the ids of created resources."""

    def __init__(self) -> None:
        self.told: list[str | None] = []

    async def begin(self, mutation: Mutation) -> str:
        return mutation.operation

    def sent(self, entry_id: str) -> None:
        pass

    async def end(
        self, entry_id: str, outcome: Outcome, *, reference: str | None = None, status: int | None = None
    ) -> None:
        self.told.append(reference)


async def test_mutation_log_receives_the_created_id(client: PartnerClient, user: str, sandbox: Sandbox) -> None:
    await onboarded(client, user)
    log = ReferenceLog()
    async with PartnerClient(sandbox.base_url, Secret(sandbox.partner_key), mutations=log) as logged:
        card = await logged.cards.create(user)
        deposit = await logged.deposits.create(user, "rusd", "base", amount=10)
    assert log.told == [card.card_id, deposit.id]


async def test_users_do_not_see_each_others_cards(client: PartnerClient, user: str) -> None:
    await onboarded(client, user)
    card = await client.cards.create(user)
    other = f"{user}-other"
    await onboarded(client, other)
    assert (await client.cards.list(other)).cards == ()
    with pytest.raises(errors.NotFound):
        await client.cards.get(other, card.card_id)


async def test_pagination_returns_consecutive_pages(client: PartnerClient, user: str) -> None:
    await onboarded(client, user)
    made = [(await client.cards.create(user)).card_id for _ in range(3)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(5):
        page = await client.cards.list(user, cursor=cursor, limit=2)
        seen += [str(card.card_id) for card in page.cards]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)


async def test_concurrent_calls_share_a_session(client: PartnerClient, user: str, wire: ContractTransport) -> None:
    await onboarded(client, user)
    before = wire.paths.count("/sessions")
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(client.cards.list, user)
    assert wire.paths.count("/sessions") == before + 1


@pytest.fixture(scope="module")
def own_sandbox() -> Iterator[Sandbox]:
    with in_thread() as started:
        yield started


async def test_session_expired_upstream_is_replaced_transparently(own_sandbox: Sandbox, user: str) -> None:
    wire = ContractTransport()
    key = Secret(own_sandbox.partner_key)
    async with PartnerClient(own_sandbox.base_url, key, deadline=PATIENCE, http_transport=wire) as client:
        await onboarded(client, user)
        await client.cards.list(user)
        await control(own_sandbox, "/clock", {"advanceSeconds": 3600})
        before = len(wire.paths)
        await client.cards.create(user)
        await client.cards.list(user)
        assert wire.paths[before:] == ["/sessions", "/cards", "/cards", "/sessions", "/cards"]


@pytest.mark.parametrize("key", ["wrong-key", "sandbox-partner-0"])
async def test_wrong_partner_key_is_unauthorized(sandbox: Sandbox, user: str, key: str) -> None:
    async with PartnerClient(sandbox.base_url, Secret(key), deadline=PATIENCE) as client:
        for call in (client.users.resolve(user), client.kyc.status(user)):
            with pytest.raises(errors.Unauthorized):
                await call
