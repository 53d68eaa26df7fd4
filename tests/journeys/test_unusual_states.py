"""From every unusual state, `next_steps` lead to the goal or to the right end, without a wasted call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from machines_mcp.tools import withdrawal_signature
from tests.journeys.environment import TERMS, Environment, environment
from tests.journeys.walker import Answer, Walker
from tests.support.stdio_client import ERAS, applicant

pytestmark = pytest.mark.anyio

Arrange = Callable[[Environment], Awaitable[dict[str, Any] | None]]
Then = Callable[[Environment, Answer], Awaitable[None]]
Told = Callable[[Answer, dict[str, Any]], None]

CARD = {"label": "Books", "limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
WISHES = applicant() | CARD | TERMS | {"amount": 100}
MADE = {"status": "active", "brand": "VISA"}
READY = {"status": "ready"}
ARRIVED = {"status": "completed"}

FUNDING = "list_deposit_assets quote_deposit create_deposit get_deposit get_balances"
TO_A_CARD = f"{FUNDING} create_session create_card"
FROM_AGREEMENTS = f"get_agreements accept_agreements {TO_A_CARD}"


@dataclass(frozen=True)
class UnusualState:
    """A state, the first call, and the expected calls and final response."""

    name: str
    begins: str
    calls: str
    ends: dict[str, Any]
    arrange: Arrange
    then: Then | None = None
    told: Told = lambda answer, data: None
    arguments: tuple[tuple[str, Any], ...] = ()


def user_at(kyc: str = "approved", **how: bool) -> Arrange:
    async def arrange(g: Environment) -> None:
        await g.prepare_user(kyc, **how)

    return arrange


async def no_user(g: Environment) -> None:
    """The user is unknown to Machines."""


def with_fault(kind: str, method: str = "POST", path: str = "/cards", **how: Any) -> Arrange:
    """Arm a fault for the next calls."""

    async def arrange(g: Environment) -> None:
        await g.prepare_user()
        await g.control("/faults", kind=kind, method=method, path=path, **how)

    return arrange


def has_card(state: str) -> Arrange:
    async def arrange(g: Environment) -> dict[str, Any]:
        await g.prepare_user()
        card = await g.card()
        if state == "closed":
            await g.api.cards.delete(g.user, card)
        elif state != "active":
            await g.api.cards.update(g.user, card, status="locked")
        return {"card_id": card}

    return arrange


async def anothers_card(g: Environment) -> dict[str, Any]:
    found = await has_card("active")(g)
    g.begin()
    await g.prepare_user()
    return dict(found or {})


async def sessions_ended(g: Environment) -> None:
    await g.prepare_user()
    await g.client.call_tool("list_cards", {"user_id": g.user})
    await g.control("/clock", advanceSeconds=86_400)


def quoted(*, funded: bool = True) -> Arrange:
    async def arrange(g: Environment) -> dict[str, Any]:
        await g.prepare_user(funded=funded)
        return {"quote_id": await g.quote()}

    return arrange


async def quote_expired(g: Environment) -> dict[str, Any]:
    found = dict(await quoted()(g) or {})
    g.write("UPDATE quotes SET expires_at = 1 WHERE id = ?", found["quote_id"])
    return found


async def quote_used(g: Environment) -> dict[str, Any]:
    found = dict(await quoted()(g) or {})
    await g.client.call_tool("create_withdrawal", {"user_id": g.user, **found})
    return found


async def anothers_quote(g: Environment) -> dict[str, Any]:
    found = dict(await quoted()(g) or {})
    g.begin()
    await g.prepare_user(funded=True)
    return found


async def signature_live(g: Environment) -> dict[str, Any]:
    await quote_used(g)
    return {"quote_id": await g.quote()}


async def passes(g: Environment, answer: Answer) -> None:
    """The user completes the check."""
    await g.control("/kyc", userId=g.user, decision="approved")


async def recovers(g: Environment, answer: Answer) -> None:
    await g.control("/faults/clear")
    await g.control("/rate", calls=0)


async def executes(g: Environment, answer: Answer) -> None:
    """The wallet sends the signed withdrawal, and it is time to ask for the other again."""
    await g.control("/withdrawals", userId=g.user)
    g.write("UPDATE withdrawals SET updated_at = updated_at - ?", answer["retry_after_seconds"])


def within_range(answer: Answer, data: dict[str, Any]) -> None:
    """The user chooses an amount within the reported range."""
    if answer.get("within_range") is False:
        data["amount"] = answer["min_amount"]


def corrects(field: str, value: Any) -> Told:
    """The user corrects a rejected value."""

    def told(answer: Answer, data: dict[str, Any]) -> None:
        if answer.get("code") == "input.invalid":
            assert field in [fault["field"] for fault in answer["fields"]]
            data[field] = value

    return told


def found_the_card(answer: Answer, data: dict[str, Any]) -> None:
    """The user found the card, and says so once asked."""
    data["status"] = "active"


def state(name: str, begins: str, calls: str, ends: dict[str, Any], arrange: Arrange, **more: Any) -> UnusualState:
    arguments = tuple(more.pop("arguments", {}).items())
    return UnusualState(name, begins, calls, ends, arrange, arguments=arguments, **more)


CHECKED = ("pending", "manual_review", "needs_information", "needs_verification")
STATES = [
    state(
        "no user yet",
        "create_card",
        f"create_card resolve_user get_kyc_requirements submit_kyc {FROM_AGREEMENTS}",
        MADE,
        no_user,
    ),
    *(
        state(f"KYC {s}", "create_card", "create_card get_kyc_status", {"status": s}, user_at(s))
        for s in ("denied", "locked", "canceled")
    ),
    *(
        state(
            f"KYC {s}",
            "create_card",
            f"create_card get_kyc_status get_kyc_status {FROM_AGREEMENTS}",
            MADE,
            user_at(s),
            then=passes,
        )
        for s in CHECKED
    ),
    state(
        "an application there already",
        "submit_kyc",
        f"submit_kyc get_kyc_status {FROM_AGREEMENTS}",
        MADE,
        user_at(agreed=False),
    ),
    state(
        "an occupation that there is not",
        "submit_kyc",
        "submit_kyc resolve_user get_kyc_requirements submit_kyc",
        {"status": "approved"},
        no_user,
        arguments={"occupation": "00-0000"},
        told=corrects("occupation", "15-1132"),
    ),
    state("agreements missing", "create_card", f"create_card {FROM_AGREEMENTS}", MADE, user_at(agreed=False)),
    state(
        "agreements missing for a deposit",
        "create_deposit",
        f"create_deposit get_agreements accept_agreements {FUNDING.removesuffix(' get_balances')}",
        ARRIVED,
        user_at(agreed=False),
    ),
    state(
        "funded and begun again",
        "status",
        "status create_session resolve_user get_agreements get_balances create_session create_card",
        MADE,
        user_at(funded=True),
    ),
    state("sessions ended", "create_card", "create_card", MADE, sessions_ended),
    state("card locked", "get_card", "get_card update_card", MADE, has_card("locked"), told=found_the_card),
    *(
        state(
            f"card closed, {tool}",
            tool,
            f"{tool} list_cards create_card",
            MADE,
            has_card("closed"),
            arguments=arguments,
        )
        for tool, arguments in (("get_card", {}), ("reveal_card", {}), ("update_card", {"status": "active"}))
    ),
    state("another's card", "get_card", "get_card list_cards create_card", MADE, anothers_card),
    state(
        "upstream down",
        "create_card",
        "create_card create_card",
        MADE,
        with_fault("status", "GET", "/agreements", status=503, retryAfter=100, calls=9),
        then=recovers,
    ),
    state(
        "upstream down, for a read",
        "list_cards",
        "list_cards list_cards create_card",
        MADE,
        with_fault("status", "GET", status=503, retryAfter=100, calls=9),
        then=recovers,
    ),
    state(
        "rate limited",
        "create_card",
        "create_card create_card",
        MADE,
        with_fault("status", status=429, retryAfter=100, calls=9),
        then=recovers,
    ),
    state("token refused once", "create_card", "create_card", MADE, with_fault("status", status=401)),
    state(
        "key refused",
        "create_card",
        "create_card",
        {"code": "auth.rejected", "next_steps": []},
        with_fault("status", status=401, calls=9),
    ),
    state("outcome unknown", "create_card", "create_card create_card", MADE, with_fault("after")),
    state(
        "deposit below the range",
        "quote_deposit",
        "quote_deposit quote_deposit create_deposit get_deposit",
        ARRIVED,
        user_at(),
        told=within_range,
        arguments={"amount": 0.0001},
    ),
    state(
        "network that there is not",
        "quote_deposit",
        "quote_deposit list_deposit_assets quote_deposit create_deposit get_deposit",
        ARRIVED,
        user_at(),
        arguments={"network": "dogechain"},
    ),
    state(
        "a withdrawal's network that there is not",
        "quote_withdrawal",
        "quote_withdrawal list_withdrawal_assets quote_withdrawal create_withdrawal",
        READY,
        user_at(funded=True),
        arguments={"network": "dogechain"},
    ),
    state(
        "dollars for cents",
        "create_card",
        "create_card create_card",
        MADE,
        user_at(),
        arguments={"limit_amount_cents": "50.00"},
        told=corrects("limit_amount_cents", 5000),
    ),
    state(
        "quote expired",
        "create_withdrawal",
        "create_withdrawal quote_withdrawal create_withdrawal",
        READY,
        quote_expired,
    ),
    state(
        "quote used",
        "create_withdrawal",
        "create_withdrawal",
        {"code": "quote.used", "next_steps": []},
        quote_used,
    ),
    state(
        "another's quote",
        "create_withdrawal",
        "create_withdrawal list_withdrawal_assets quote_withdrawal create_withdrawal",
        READY,
        anothers_quote,
    ),
    state(
        "balance too low",
        "create_withdrawal",
        "create_withdrawal get_balances",
        {"spending_power_cents": 0},
        quoted(funded=False),
    ),
    state(
        "signature pending", "create_withdrawal", "create_withdrawal create_withdrawal", READY, quoted()
    ),
    state(
        "a live signature there",
        "create_withdrawal",
        "create_withdrawal create_withdrawal",
        READY,
        signature_live,
        then=executes,
    ),
]  # fmt: skip
# States that are also walked with a server process, in both eras.
ON_STDIO = {"KYC denied", "KYC needs_information", "card closed, get_card", "outcome unknown", "quote expired"}
# A vault reaches the simulator through a socket only.
IN_VAULT = {"card closed, reveal_card"}

# Long walks that differ from others only in their first steps.
LONG = {"KYC pending", "KYC manual_review", "KYC needs_verification", "an application there already"}


def _marked(odd: UnusualState) -> Any:
    return pytest.param(odd, id=odd.name, marks=[pytest.mark.check] if odd.name in LONG else [])


@pytest.fixture(scope="module")
async def in_memory(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    async with environment(tmp_path_factory.mktemp("odd")) as found:
        yield found


@pytest.fixture(scope="module", params=ERAS)
async def over_stdio(
    request: pytest.FixtureRequest, in_memory: Environment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Environment]:
    # After `in_memory`, because their cancel scopes must end in reverse order, whatever the order of the tests.
    async with environment(tmp_path_factory.mktemp("odd"), request.param) as found:
        yield found


async def walk(g: Environment, odd: UnusualState, begun: Callable[[], None] = lambda: None) -> None:
    g.begin()
    given = await odd.arrange(g) or {}
    begun()
    data = WISHES | {"user_id": g.user}

    async def meanwhile(answer: Answer) -> None:
        if odd.then is not None:
            await odd.then(g, answer)

    walker = Walker(g.client, data, meanwhile, odd.told)
    try:
        answer = await walker.walk(odd.begins, odd.ends, **given, **dict(odd.arguments))
    finally:
        await recovers(g, {})
    assert (" ".join(walker.calls), odd.ends.items() <= answer.items()) == (odd.calls, True), answer
    assert answer["next_steps"] == [] or "code" not in answer


@pytest.mark.parametrize("odd", [_marked(odd) for odd in STATES if odd.name not in IN_VAULT])
async def test_unusual_state_leads_to_the_goal_or_the_right_end(
    odd: UnusualState, in_memory: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun() -> None:
        # Finish polls immediately instead of after a minute.
        if "signature" in odd.name:
            monkeypatch.setattr(withdrawal_signature, "POLL_SECONDS", 0.0)

    await walk(in_memory, odd, begun)


@pytest.mark.check
@pytest.mark.parametrize("odd", [odd for odd in STATES if odd.name in ON_STDIO | IN_VAULT], ids=lambda odd: odd.name)
async def test_unusual_state_leads_there_with_a_server_process_too(odd: UnusualState, over_stdio: Environment) -> None:
    await walk(over_stdio, odd)
