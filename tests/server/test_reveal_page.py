"""A card's page with its server, in this process: what the person, the audit log and the model learn."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from types import SimpleNamespace
from typing import Any, cast, get_args

import anyio
import httpx
import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import OPEN_SECONDS
from machines_mcp.permissions.clock import CLOCK_SLACK_SECONDS
from machines_mcp.permissions.decision import MESSAGES, Decision
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.reveal_page import RevealPage, record_reveal
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.tools.services import PageOutcome, Revealed
from machines_mcp.vault.reply import Code, Denial, failed
from machines_mcp.vault.request import Verifier as PageVerifier
from tests.support.clock import Clock
from tests.support.state import clock, store
from tests.support.vault_simulator import OpenedCard, Simulator, Wiretap, simulator, wiretap
from tests.support.waiting import PATIENCE
from tests.vault.pages import PASSPHRASE, OpenPage, PageEvents, open_page, page_request

__all__ = ["clock", "store"]

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def api() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture(scope="module")
def card(api: Simulator) -> OpenedCard:
    return api.card("user-1")


@dataclass
class Reveal:
    """A reveal that waits, its page in a browser, and the traffic between the page and the Partner API."""

    guard: Guard
    clock: Clock
    approval: Approval
    server: RevealPage
    page: OpenPage
    tap: Wiretap

    async def state(self) -> str:
        found = await self.guard.approvals.get(self.approval.id)
        return "" if found is None else found.state

    async def audited(self) -> list[str | None]:
        """Return the codes of the reveals in the audit log."""
        with anyio.fail_after(PATIENCE):
            await self.server.ended.wait()
        await self.guard.audit.flush()
        return [row.code for row in await self.guard.audit.rows(ANY_USER, kind="reveal")]


def _outcome(found: Revealed) -> PageOutcome:
    return PageOutcome({"reason": found.code}, ok=found.ok, code="ok" if found.ok else "reveal.failed")


async def _ask(guard: Guard, card: OpenedCard, only: Any = "page") -> Approval:
    details = ApprovalDetails("Show?", card_id=card.card_id, sink="page", only=only)
    return await guard.approvals.open(CallRequest("reveal_card", ActionClass.REVEAL, card.user_id, "d1"), details)


@asynccontextmanager
async def opened(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, only: Any = "page"
) -> AsyncIterator[Reveal]:
    guard = build_guard(store, default_policy("sandbox", read_only=False), ANY_USER, clock=clock)
    assert await guard.passphrase.set(Secret(PASSPHRASE)) == "right"
    approval = await _ask(guard, card, only)
    verifier = await guard.passphrase.verifier()
    assert verifier is not None
    server = RevealPage(guard, approval, "handle", _outcome, PageVerifier(salt=verifier.salt, key=verifier.key))
    async with (
        wiretap(api) as tap,
        open_page(page_request(tap.base_url, api.partner_key, card), cast("PageEvents", server)) as page,
    ):
        yield Reveal(guard, clock, approval, server, page, tap)


def _text(answer: httpx.Response) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


async def _freeze(reveal: Reveal) -> None:
    await reveal.guard.freezes.freeze("terminal", reveal.approval.user_id)


async def _freeze_all(reveal: Reveal) -> None:
    await reveal.guard.freezes.freeze("desk")


async def _set_clock_back(reveal: Reveal) -> None:
    reveal.clock.advance(-CLOCK_SLACK_SECONDS - 1)


async def _remove_passphrase(reveal: Reveal) -> None:
    reveal.guard.passphrase.path.unlink()


async def _let_expire(reveal: Reveal) -> None:
    reveal.clock.advance(OPEN_SECONDS)


async def _refuse(reveal: Reveal) -> None:
    assert await reveal.guard.channels.refuse(reveal.approval.id, "terminal", Secret(PASSPHRASE)) == "refused"


async def _withdraw(reveal: Reveal) -> None:
    await reveal.guard.approvals.refusals.withdraw(reveal.approval.id)


async def _use(reveal: Reveal) -> None:
    """Approve it on a page of another server."""
    assert await reveal.guard.channels.grant_and_consume(reveal.approval.id, "page") == "granted"


async def _change_policy(reveal: Reveal) -> None:
    change = "UPDATE approvals SET policy = 'another' WHERE id = ?"
    await reveal.guard.store.run(lambda db: db.execute(change, (reveal.approval.id,)))


async def _change_passphrase(reveal: Reveal) -> None:
    assert await reveal.guard.passphrase.set(Secret("another passphrase"), Secret(PASSPHRASE)) == "right"


async def _delete(reveal: Reveal) -> None:
    await reveal.guard.store.run(lambda db: db.execute("DELETE FROM approvals WHERE id = ?", (reveal.approval.id,)))


async def _make_unwritable(reveal: Reveal) -> None:
    await reveal.guard.store.read(lambda db: db.execute("PRAGMA query_only = ON"))


async def _nothing(reveal: Reveal) -> None:
    """The approval itself can't be decided on a page."""


@dataclass(frozen=True)
class Case:
    """What happens while the page is open, and what the person then reads after a yes."""

    code: Denial
    happens: Callable[[Reveal], Awaitable[None]]
    says: str
    state: str = "waiting"
    only: str | None = "page"
    refusal: Code = "page.refused"
    """How a no ends instead."""


CASES = [
    Case("page.frozen", _freeze, MESSAGES["frozen"]),
    Case("page.frozen", _freeze_all, MESSAGES["frozen"]),
    Case("page.limit_exceeded", _set_clock_back, "clock of this computer was set back"),
    Case("page.not_allowed", _nothing, MESSAGES["not_allowed"], only=None),
    Case("page.unset", _remove_passphrase, MESSAGES["unset"], refusal="page.unset"),
    Case("page.expired", _let_expire, "It has expired.", refusal="page.expired"),
    Case("page.refused_elsewhere", _refuse, "It was refused elsewhere.", "refused", refusal="page.refused_elsewhere"),
    Case("page.withdrawn", _withdraw, "The assistant withdrew it.", "refused", refusal="page.withdrawn"),
    Case("page.used", _use, "It was approved on another page", "executing", refusal="page.used"),
    Case("page.other_policy", _change_policy, "under another policy", refusal="page.other_policy"),
    Case(
        "page.new_passphrase",
        _change_passphrase,
        "It was changed after this page was opened",
        refusal="page.new_passphrase",
    ),
    Case("page.gone", _delete, "decided elsewhere or has expired", "", refusal="page.gone"),
]
LAPSES = [case for case in CASES if case.refusal == case.code != "page.unset"]


def _named(case: Case) -> str:
    return f"{case.code} {case.happens.__name__.strip('_')}"


@pytest.mark.parametrize("case", CASES, ids=_named)
async def test_each_refused_yes_has_an_ending_of_its_own_and_fetches_nothing(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, case: Case
) -> None:
    async with opened(api, card, store, clock, case.only) as reveal:
        await case.happens(reveal)
        answer = await reveal.page.press()
        assert (answer.status_code, case.says in _text(answer)) == (410, True), _text(answer)
        assert _text(await reveal.page.get()) == _text(answer)
        assert (await reveal.audited(), await reveal.state()) == ([case.code], case.state)
        assert reveal.tap.posts == 0
        others = {other.says for other in CASES if other.code != case.code and other.says not in case.says}
        assert not [says for says in others if says in _text(answer)]


@pytest.mark.parametrize("case", CASES, ids=_named)
async def test_a_no_ends_as_it_was_stored(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, case: Case
) -> None:
    async with opened(api, card, store, clock, case.only) as reveal:
        await case.happens(reveal)
        answer = await reveal.page.press(decision="refuse")
        stored = case.refusal == "page.refused"
        assert (answer.status_code, ("Refused" in _text(answer))) == ((200, True) if stored else (410, False))
        assert await reveal.audited() == [case.refusal]
        assert await reveal.state() == ("refused" if stored else case.state)


async def test_an_unwritable_state_folder_is_no_wrong_passphrase(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock
) -> None:
    async with opened(api, card, store, clock) as reveal:
        await _make_unwritable(reveal)
        for decision in ("show", "refuse"):
            answer = await reveal.page.press(decision=decision)
            assert answer.status_code == 403
            assert "the server can't use its state folder. Run machines-mcp doctor." in _text(answer)
            assert "wrong passphrases" not in _text(answer)
        await store.read(lambda db: db.execute("PRAGMA query_only = OFF"))
        assert card.number in (await reveal.page.press()).text.replace('</span><wbr><span class="group">', "")


@pytest.mark.parametrize("decision", ["show", "refuse"])
async def test_a_decision_that_can_not_be_stored_is_not_claimed(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, decision: str
) -> None:
    async with opened(api, card, store, clock) as reveal:
        checked = reveal.server.on_checked

        async def then_unwritable(*, right: bool) -> int | None:
            wait = await checked(right=right)
            await _make_unwritable(reveal)
            return wait

        reveal.server.__dict__["on_checked"] = then_unwritable
        answer = await reveal.page.press(decision=decision)
        assert (answer.status_code, "was not recorded" in _text(answer)) == (410, True)
        assert (await reveal.state(), reveal.tap.posts) == ("waiting", 0)


def test_every_reason_of_the_server_is_walked() -> None:
    assert {case.code for case in CASES} | {"page.unavailable"} == set(get_args(Denial))
    decided: set[Decision] = {"granted", "refused", "wrong", "delayed", "gone"}
    assert {f"page.{one}" for one in set(get_args(Decision)) - decided} <= {case.code for case in CASES}


@pytest.mark.parametrize("case", LAPSES, ids=_named)
async def test_a_page_whose_approval_was_decided_elsewhere_or_expired_does_not_ask(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, case: Case
) -> None:
    async with opened(api, card, store, clock) as reveal:
        assert not await reveal.server.is_over()
        await case.happens(reveal)
        answer = await reveal.page.get()
        assert (answer.status_code, case.says in _text(answer)) == (410, True)
        assert "Show the card" not in answer.text
        assert await reveal.audited() == [case.code]
        assert await reveal.server.is_over()


async def test_a_vault_that_breaks_the_protocol_is_recorded_even_after_the_expiry(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock
) -> None:
    async with opened(api, card, store, clock) as reveal:
        await _let_expire(reveal)
        assert await reveal.server.is_over()
        await reveal.server.on_reply(failed("vault.protocol"))
        assert await reveal.audited() == ["vault.protocol"]


async def test_an_approval_that_can_not_be_read_does_not_end_its_page(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(approval_id: str) -> None:
        raise StoreUnavailable

    async with opened(api, card, store, clock) as reveal:
        with monkeypatch.context() as patched:
            patched.setattr(reveal.guard.approvals, "get", unreadable)
            assert (await reveal.page.get()).status_code == 200
        assert card.number in re.sub(r"<[^>]+>", "", (await reveal.page.press()).text)


@pytest.mark.parametrize("case", LAPSES, ids=_named)
async def test_a_cancelled_page_records_why_it_could_show_no_card(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, case: Case
) -> None:
    async with opened(api, card, store, clock) as reveal:
        await case.happens(reveal)
        assert await reveal.server.is_over()
        # As after a cancellation.
        await reveal.server.on_reply(failed("deadline"))
        assert await reveal.audited() == [case.code]


@pytest.mark.parametrize("case", [case for case in CASES if case not in LAPSES], ids=_named)
async def test_a_page_whose_approval_still_waits_keeps_its_slot(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, case: Case
) -> None:
    async with opened(api, card, store, clock, case.only) as reveal:
        await case.happens(reveal)
        assert not await reveal.server.is_over()
        assert (await reveal.page.get()).status_code == 200


async def test_a_page_that_fetches_its_card_keeps_its_slot_after_the_expiry(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock
) -> None:
    async with opened(api, card, store, clock) as reveal:
        gate = reveal.tap.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reveal.page.press)
            with anyio.fail_after(PATIENCE):
                await reveal.tap.connected.wait()
            clock.advance(OPEN_SECONDS)
            assert not await reveal.server.is_over()
            gate.set()
        assert await reveal.audited() == ["shown"]
        assert await reveal.server.is_over()


async def test_a_card_that_nobody_saw_is_not_shown_for_the_audit_log_and_the_model(
    api: Simulator, card: OpenedCard, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [False, True]

    async def is_gone(receive: object) -> bool:
        return gone.pop(0)

    monkeypatch.setattr("machines_mcp.vault.page._is_gone", is_gone)
    async with opened(api, card, store, clock) as reveal:
        answer = await reveal.page.press()
        assert (answer.status_code, card.number in answer.text, gone) == (410, False, [])
        assert await reveal.audited() == ["page.left"]
        found = await reveal.guard.approvals.get(reveal.approval.id)
        assert found is not None
        assert (found.state, json.loads(found.outcome or "")) == ("failed", {"reason": "page.left"})


@pytest.mark.parametrize(
    ("code", "alarms"),
    [("secrets.mismatch", ["response.mismatch:vault"]), ("secrets.malformed", []), ("partner.unavailable", [])],
)
def test_secrets_of_another_card_or_session_raise_an_alarm(code: Code, alarms: list[str]) -> None:
    raised: list[str] = []
    noted: list[Any] = []
    guard: Any = SimpleNamespace(audit=SimpleNamespace(note=noted.append, alarm=raised.append))
    record_reveal(guard, failed(code), "none", "user-1", "card-0001")
    assert raised == alarms
    assert [row.code for row in noted] == [code]
