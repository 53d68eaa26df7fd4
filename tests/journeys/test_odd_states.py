"""From every unusual state, `next_steps` lead to the goal or to the right end, without a wasted call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from machines_mcp.tools import reconcile_withdrawals
from tests.journeys.environment import TERMS, Environment, environment
from tests.journeys.stdio import ERAS, applicant
from tests.journeys.walker import Answer, Walker

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
class Odd:
    """A state, the first call, and the expected calls and final response."""

    name: str
    begins: str
    calls: str
    ends: dict[str, Any]
    arrange: Arrange
    then: Then | None = None
    told: Told = lambda answer, data: None
    arguments: tuple[tuple[str, Any], ...] = ()


def stands(kyc: str = "approved", **how: bool) -> Arrange:
    async def arrange(g: Environment) -> None:
        await g.prepare_user(kyc, **how)

    return arrange


async def nothing_yet(g: Environment) -> None:
    """The user is unknown to Machines."""


def breaks(kind: str, method: str = "POST", path: str = "/cards", **how: Any) -> Arrange:
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
    """The wallet sends the signed withdrawal."""
    await g.control("/withdrawals", userId=g.user)


def within_range(answer: Answer, data: dict[str, Any]) -> None:
    """The user chooses an amount within the reported range."""
    if answer.get("within_range") is False:
        data["amount"] = answer["min_amount"]


def mends(field: str, value: Any) -> Told:
    """The user corrects a rejected value."""

    def told(answer: Answer, data: dict[str, Any]) -> None:
        if answer.get("code") == "input.invalid":
            assert field in [fault["field"] for fault in answer["fields"]]
            data[field] = value

    return told


def walks(name: str, begins: str, calls: str, ends: dict[str, Any], arrange: Arrange, **more: Any) -> Odd:
    arguments = tuple(more.pop("arguments", {}).items())
    return Odd(name, begins, calls, ends, arrange, arguments=arguments, **more)


CHECKED = ("pending", "manual_review", "needs_information", "needs_verification")
ODD = [
    walks(
        "no user yet",
        "create_card",
        f"create_card get_kyc_status get_kyc_requirements submit_kyc {FROM_AGREEMENTS}",
        MADE,
        nothing_yet,
    ),
    *(
        walks(f"KYC {s}", "create_card", "create_card get_kyc_status", {"status": s}, stands(s))
        for s in ("denied", "locked", "canceled")
    ),
    *(
        walks(
            f"KYC {s}",
            "create_card",
            f"create_card get_kyc_status get_kyc_status {FROM_AGREEMENTS}",
            MADE,
            stands(s),
            then=passes,
        )
        for s in CHECKED
    ),
    walks(
        "an application there already",
        "submit_kyc",
        f"submit_kyc get_kyc_status {FROM_AGREEMENTS}",
        MADE,
        stands(agreed=False),
    ),
    walks(
        "an occupation that there is not",
        "submit_kyc",
        "submit_kyc get_kyc_requirements submit_kyc",
        {"status": "approved"},
        nothing_yet,
        arguments={"occupation": "00-0000"},
        told=mends("occupation", "15-1132"),
    ),
    walks("agreements missing", "create_card", f"create_card {FROM_AGREEMENTS}", MADE, stands(agreed=False)),
    walks(
        "agreements missing for a deposit",
        "create_deposit",
        f"create_deposit get_agreements accept_agreements {FUNDING.removesuffix(' get_balances')}",
        ARRIVED,
        stands(agreed=False),
    ),
    walks(
        "funded and begun again",
        "status",
        "status create_session resolve_user get_agreements get_balances create_session create_card",
        MADE,
        stands(funded=True),
    ),
    walks("sessions ended", "create_card", "create_card", MADE, sessions_ended),
    walks("card locked", "get_card", "get_card update_card", MADE, has_card("locked")),
    *(
        walks(
            f"card closed, {tool}",
            tool,
            f"{tool} list_cards create_card",
            MADE,
            has_card("closed"),
            arguments=arguments,
        )
        for tool, arguments in (("get_card", {}), ("reveal_card", {}), ("update_card", {"status": "active"}))
    ),
    walks("another's card", "get_card", "get_card list_cards create_card", MADE, anothers_card),
    walks(
        "upstream down",
        "create_card",
        "create_card create_card",
        MADE,
        breaks("status", "GET", "/agreements", status=503, retryAfter=100, calls=9),
        then=recovers,
    ),
    walks(
        "upstream down, for a read",
        "list_cards",
        "list_cards list_cards create_card",
        MADE,
        breaks("status", "GET", status=503, retryAfter=100, calls=9),
        then=recovers,
    ),
    walks(
        "rate limited",
        "create_card",
        "create_card create_card",
        MADE,
        breaks("status", status=429, retryAfter=100, calls=9),
        then=recovers,
    ),
    walks("token refused once", "create_card", "create_card", MADE, breaks("status", status=401)),
    walks(
        "key refused",
        "create_card",
        "create_card",
        {"code": "auth.rejected", "next_steps": []},
        breaks("status", status=401, calls=9),
    ),
    walks("outcome unknown", "create_card", "create_card create_card", MADE, breaks("after")),
    walks(
        "deposit below the range",
        "quote_deposit",
        "quote_deposit quote_deposit create_deposit get_deposit",
        ARRIVED,
        stands(),
        told=within_range,
        arguments={"amount": 0.0001},
    ),
    walks(
        "network that there is not",
        "quote_deposit",
        "quote_deposit list_deposit_assets quote_deposit create_deposit get_deposit",
        ARRIVED,
        stands(),
        arguments={"network": "dogechain"},
    ),
    walks(
        "a withdrawal's network that there is not",
        "quote_withdrawal",
        "quote_withdrawal list_withdrawal_assets quote_withdrawal create_withdrawal",
        READY,
        stands(funded=True),
        arguments={"network": "dogechain"},
    ),
    walks(
        "dollars for cents",
        "create_card",
        "create_card create_card",
        MADE,
        stands(),
        arguments={"limit_amount_cents": "50.00"},
        told=mends("limit_amount_cents", 5000),
    ),
    walks(
        "quote expired",
        "create_withdrawal",
        "create_withdrawal quote_withdrawal create_withdrawal",
        READY,
        quote_expired,
    ),
    walks(
        "quote used",
        "create_withdrawal",
        "create_withdrawal",
        {"code": "quote.used", "next_steps": []},
        quote_used,
    ),
    walks(
        "another's quote",
        "create_withdrawal",
        "create_withdrawal quote_withdrawal create_withdrawal",
        READY,
        anothers_quote,
    ),
    walks(
        "balance too low",
        "create_withdrawal",
        "create_withdrawal get_balances",
        {"spending_power_cents": 0},
        quoted(funded=False),
    ),
    walks(
        "signature pending", "create_withdrawal", "create_withdrawal create_withdrawal", READY, quoted()
    ),
    walks(
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


def _marked(odd: Odd) -> Any:
    return pytest.param(odd, id=odd.name, marks=[pytest.mark.check] if odd.name in LONG else [])


@pytest.fixture(scope="module")
async def here(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    async with environment(tmp_path_factory.mktemp("odd")) as found:
        yield found


@pytest.fixture(scope="module", params=ERAS)
async def there(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Environment]:
    async with environment(tmp_path_factory.mktemp("odd"), request.param) as found:
        yield found


async def walk(g: Environment, odd: Odd, begun: Callable[[], None] = lambda: None) -> None:
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


@pytest.mark.parametrize("odd", [_marked(odd) for odd in ODD if odd.name not in IN_VAULT])
async def test_unusual_state_leads_to_the_goal_or_the_right_end(
    odd: Odd, here: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun() -> None:
        # Finish polls immediately instead of after a minute.
        if "signature" in odd.name:
            monkeypatch.setattr(reconcile_withdrawals, "POLL_SECONDS", 0.0)

    await walk(here, odd, begun)


@pytest.mark.check
@pytest.mark.parametrize("odd", [odd for odd in ODD if odd.name in ON_STDIO | IN_VAULT], ids=lambda odd: odd.name)
async def test_unusual_state_leads_there_with_a_server_process_too(odd: Odd, there: Environment) -> None:
    await walk(there, odd)
