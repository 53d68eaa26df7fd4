"""Card reveals from the call to the card, with a server, a vault, the simulator, and a person at the page."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import psutil
import pytest
from mcp import Client

from machines_mcp.cli.approvals import format_approval, waiting_approvals
from machines_mcp.permissions.decision import MESSAGES
from machines_mcp.permissions.passphrase_tries import PassphrasePlace
from machines_mcp.protocol.elicitation import PAGE
from machines_mcp.redaction.display import iso
from machines_mcp.redaction.secret import Secret
from machines_mcp.server import reveal_page
from machines_mcp.server.app import App
from machines_mcp.server.app import opened as opened_app
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.testing import decide, set_passphrase
from machines_mcp.vault.keypair import make_key_pair, unseal
from machines_mcp.vault.public_key import thumbprint
from tests.support.approver import FakeApprover
from tests.support.card_pages import card_page, press_open
from tests.support.running_desk import FakeBrowser
from tests.support.stdio_client import ERAS, Era, ToolError, agent
from tests.support.vault_simulator import OpenedCard, Simulator, Wiretap, simulator, wiretap
from tests.support.waiting import PATIENCE, eventually
from tests.support.wrong_tries import end_delays, type_wrong

pytestmark = pytest.mark.anyio

PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def api() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture(scope="module")
def card(api: Simulator) -> OpenedCard:
    return api.card("user-1")


@dataclass
class RevealSession:
    """An agent's client, the server behind it, and the traffic between the server and the Partner API."""

    app: App
    client: Client
    tap: Wiretap
    card: OpenedCard
    person: FakeApprover
    settings: dict[str, str]

    async def reveal(self, sink: str, approval_id: str | None = None, card: OpenedCard | None = None) -> dict[str, Any]:
        arguments = {"card_id": (card or self.card).card_id, "sink": sink}
        with anyio.fail_after(PATIENCE):
            answer = await self.client.call_tool(
                "reveal_card", arguments | ({} if approval_id is None else {"approval_id": approval_id})
            )
        return dict(json.loads(getattr(answer.content[0], "text", "")))

    async def expire(self, asked: dict[str, Any], at: float) -> None:
        """Make the approval expire at that time, in seconds since the epoch."""
        change = "UPDATE approvals SET expires_at = ? WHERE id = ?"
        await self.app.store.run(lambda db: db.execute(change, (at, asked["approval_id"])))

    async def ended(self, asked: dict[str, Any]) -> None:
        """Wait until the approval stores the outcome of the page."""
        with anyio.fail_after(PATIENCE):
            await self.app.reveals.ended(asked["approval_id"])

    @property
    def secret_requests(self) -> int:
        """The number of requests for a card's secrets."""
        return self.tap.heard.count(b"/secrets HTTP")

    @property
    def vaults(self) -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if "machines_mcp.vault" in child.cmdline()]

    def stored_bytes(self) -> bytes:
        """Return the contents of all files that the server left in its folder."""
        folder = Path(self.settings["MACHINES_STATE_DIR"])
        return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@dataclass
class CardPageBrowser:
    """A person's browser on a page of the vault."""

    url: str
    http: httpx.AsyncClient

    async def press(self, passphrase: str | None = PASSPHRASE, decision: str = "show") -> httpx.Response:
        """Load the page and press a button. Return the loaded page if it has none."""
        loaded = await self.http.get(self.url)
        token = next(iter(re.findall('name="token" value="([^"]+)"', loaded.text)), None)
        if token is None:
            return loaded
        form = {"token": token, "decision": decision} | ({} if passphrase is None else {"passphrase": passphrase})
        origin = self.url.rsplit("/", 1)[0]
        return await self.http.post(f"{self.url}/decide", data=form, headers={"Origin": origin})


@asynccontextmanager
async def browser(page: str) -> AsyncIterator[CardPageBrowser]:
    """Open a card's page from the desk."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        yield CardPageBrowser(await card_page(page, http), http)


@asynccontextmanager
async def open_session(
    api: Simulator,
    card: OpenedCard,
    folder: Path,
    *,
    passphrase: str | None = PASSPHRASE,
    policy: str = "",
    dialog: bool = False,
) -> AsyncIterator[RevealSession]:
    """Open a `sandbox` server against the simulator, with the person's passphrase."""
    async with wiretap(api) as tap:
        settings = {
            "MACHINES_ENV": "sandbox",
            "MACHINES_API_URL": tap.base_url,
            "MACHINES_PARTNER_KEY": api.partner_key,
            "MACHINES_USER_ID": card.user_id,
            "MACHINES_STATE_DIR": str(folder / "state"),
        }
        if policy:
            file = folder / "policy.toml"
            file.write_text(f'version = 1\nenvironment = "sandbox"\n{policy}', encoding="utf-8")
            file.chmod(0o600)
            settings["MACHINES_POLICY"] = str(file)
        if passphrase is not None:
            await set_passphrase(settings, passphrase)
        person = FakeApprover()
        async with (
            opened_app(read_settings(settings)) as app,
            Client(app.server(), elicitation_callback=person if dialog else None) as client,
        ):
            yield RevealSession(app, client, tap, card, person, settings)


async def test_a_person_sees_the_card_and_the_model_learns_only_that(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path) as session:
        asked = await session.reveal("page")
        assert (asked["code"], asked["retryable"]) == ("approval.required", False)
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/[a-z]{32}/decisions/[0-9a-f]{32}", asked["page"])
        assert session.vaults == []
        waiting = await session.reveal("page", asked["approval_id"])
        assert (waiting["code"], waiting["page"], session.secret_requests) == ("approval.required", asked["page"], 0)
        async with browser(asked["page"]) as person:
            shown = await person.press()
        assert card.number in re.sub("<[^>]+>", "", shown.text)
        await session.ended(asked)
        told = await session.reveal("page", asked["approval_id"])
        month, year = card.expiry
        assert {name: told[name] for name in ("status", "shown", "last4", "expiration_month", "expiration_year")} == {
            "status": "shown",
            "shown": "page",
            "last4": card.last4,
            "expiration_month": month,
            "expiration_year": year,
        }
        assert session.secret_requests == 1
        # A repeated call returns the stored result and shows no further card.
        assert await session.reveal("page", asked["approval_id"]) == told
        assert session.secret_requests == 1
        assert card.number.encode() not in session.stored_bytes()
        assert card.number not in json.dumps([asked, waiting, told])


async def test_a_call_during_the_fetch_waits_for_the_outcome(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    async with open_session(api, card, tmp_path) as session:
        asked = await session.reveal("page")
        taken = anyio.Event()
        take = session.app.guard.channels.grant_and_consume

        async def signalling_grant(*given: Any) -> Any:
            decision = await take(*given)
            taken.set()
            return decision

        object.__setattr__(session.app.guard.channels, "grant_and_consume", signalling_grant)
        async with browser(asked["page"]) as person, anyio.create_task_group() as tasks:
            tasks.start_soon(person.press)
            with anyio.fail_after(PATIENCE):
                await taken.wait()
            assert (await session.reveal("page", asked["approval_id"]))["status"] == "shown"


async def test_concurrent_calls_and_clicks_open_one_page(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    async with open_session(api, card, tmp_path) as session, httpx.AsyncClient(trust_env=False) as http:
        answers: list[dict[str, Any]] = []
        pages: list[str] = []

        async def ask() -> None:
            answers.append(await session.reveal("page"))

        async def click() -> None:
            pages.append(await card_page(answers[0]["page"], http))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
        assert len({(answer["page"], answer["approval_id"]) for answer in answers}) == 1
        assert session.vaults == []
        pages.append(await card_page(answers[0]["page"], http))
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(click)
        assert (len(set(pages)), len(session.vaults)) == (1, 1)


async def test_a_reveal_on_the_page_can_be_approved_only_there(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path, dialog=True) as session:
        asked = await session.reveal("page")
        # The client can open pages, so the server offered one. It asked nothing in a dialog.
        assert (asked["code"], session.person.asked) == ("approval.required", [PAGE])
        assert await decide(session.settings, asked["approval_id"], passphrase=PASSPHRASE) == "not_allowed"
        assert (await session.reveal("page", asked["approval_id"]))["code"] == "approval.required"
        assert session.secret_requests == 0


@pytest.mark.parametrize("place", ["page", "terminal"])
async def test_a_refusal_is_reported_and_final(api: Simulator, card: OpenedCard, tmp_path: Path, place: str) -> None:
    async with open_session(api, card, tmp_path) as session:
        asked = await session.reveal("page")
        async with browser(asked["page"]) as person:
            if place == "page":
                await person.press(decision="refuse")
            else:
                await decide(session.settings, asked["approval_id"], yes=False, passphrase=PASSPHRASE)
                assert "no longer open" in (await person.press()).text
        await session.ended(asked)
        assert (await session.reveal("page", asked["approval_id"]))["code"] == "approval.refused"
        assert session.secret_requests == 0


async def test_a_yes_while_changes_are_frozen_says_so_and_the_page_can_be_opened_again(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path) as session:
        guard = session.app.guard
        asked = await session.reveal("page")
        async with browser(asked["page"]) as person:
            await guard.freezes.freeze("terminal")
            frozen = await person.press()
        assert (frozen.status_code, MESSAGES["frozen"] in re.sub(r"\s+", " ", frozen.text)) == (410, True)
        assert session.secret_requests == 0
        await session.ended(asked)
        assert (await session.reveal("page", asked["approval_id"]))["code"] == "policy.frozen"
        assert await guard.freezes.lift("terminal", Secret(PASSPHRASE)) == "granted"
        async with browser(asked["page"]) as person:
            assert card.number in re.sub("<[^>]+>", "", (await person.press()).text)
        assert (await session.reveal("page", asked["approval_id"]))["status"] == "shown"


async def test_a_browser_that_leaves_during_the_fetch_makes_it_not_shown(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path) as session:
        asked = await session.reveal("page")
        async with browser(asked["page"]) as person, anyio.create_task_group() as tasks:
            session.tap.connected = anyio.Event()
            gate = session.tap.hold()
            tasks.start_soon(person.press)
            with anyio.fail_after(PATIENCE):
                await session.tap.connected.wait()
            tasks.cancel_scope.cancel()
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            assert "The card is being fetched" in (await http.get(person.url)).text
            gate.set()
            await session.ended(asked)
            assert "The card was not shown" in (await http.get(person.url)).text
        told = await session.reveal("page", asked["approval_id"])
        assert (told["code"], told["reason"]) == ("reveal.failed", "page.left")
        assert "Nothing was shown." in told["message"]
        await session.app.guard.audit.flush()
        (row,) = await session.app.guard.audit.rows(ANY_USER, kind="reveal")
        assert (row.verdict, row.code) == ("failed", "page.left")
        assert session.secret_requests == 1


async def test_wrong_passphrases_on_a_page_delay_all_pages_but_no_other_way(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path) as session:
        guard = session.app.guard
        asked, other = await session.reveal("page"), await session.reveal("page", card=api.another_card(card.user_id))
        await type_wrong(guard, "page", 4)
        async with browser(asked["page"]) as person, browser(other["page"]) as another:
            for page in (person, another):
                delayed = await page.press()
                assert (delayed.status_code, "Nothing was checked" in delayed.text) == (403, True)
        assert session.secret_requests == 0
        assert await decide(session.settings, other["approval_id"], yes=False, passphrase=PASSPHRASE) == "refused"
        await end_delays(guard)
        third = await session.reveal("page", card=api.another_card(card.user_id))
        async with browser(third["page"]) as person:
            assert "Wrong passphrase." in (await person.press("wrong one")).text
        (row,) = [row for row in await guard.audit.rows(ANY_USER, kind="decision") if row.verdict == "wrong"][4:]
        assert (row.by, row.code) == ("page", "passphrase")


async def test_wrong_passphrases_elsewhere_delay_no_page(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    async with open_session(api, card, tmp_path) as session:
        asked = await session.reveal("page")
        places: tuple[PassphrasePlace, ...] = ("sign-in", "desk", "terminal")
        async with browser(asked["page"]) as person:
            for place in places:
                await type_wrong(session.app.guard, place, 6)
            assert (await person.press()).status_code == 200
        assert await session.app.guard.passphrase.tries.wait("page") == 0


async def test_without_a_passphrase_no_vault_starts(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    async with open_session(api, card, tmp_path, passphrase=None) as session:
        asked = await session.reveal("page")
        assert (asked["code"], "page" in asked, session.vaults) == ("approval.required", False, [])
        assert "machines-mcp passphrase" in asked["where"]


async def test_every_surface_names_the_same_expiry_and_stays_until_then(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path) as session, httpx.AsyncClient(trust_env=False) as http:
        asked = await session.reveal("page")
        ((waiting,), _) = await waiting_approvals(read_settings(session.settings))
        until = f"{datetime.fromtimestamp(waiting.expires_at, UTC):%H:%M}"
        assert asked["expires_at"] == iso(waiting.expires_at)
        assert f"open until {until}:" in format_approval(waiting)
        vault = await card_page(asked["page"], http)
        desk = await http.get(asked["page"], headers={"Sec-Fetch-Site": "none"})
        assert f"{until} UTC</time>" in desk.text
        assert f"This request expires at {until} UTC." in (await http.get(vault)).text


async def test_an_expired_approval_says_so_on_its_page_and_at_the_desk(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path) as session, httpx.AsyncClient(trust_env=False) as http:
        asked = await session.reveal("page")
        await session.expire(asked, time.time() + 3)
        vault = await card_page(asked["page"], http)
        desk_home, approval_id = asked["page"].rsplit("/decisions/", 1)
        person = FakeBrowser(desk_home, http)
        await person.get(f"/decisions/{approval_id}")
        with anyio.fail_after(PATIENCE):
            while (page := await http.get(vault)).status_code == 200:
                assert "Show the card ending" in page.text
        assert (page.status_code, "no longer open" in page.text, "It has expired." in page.text) == (410, True, True)
        refused = await person.post(f"/cards/{approval_id}")
        assert (refused.status_code, "no longer waiting" in refused.text) == (409, True)
        desk = await person.get(f"/decisions/{approval_id}")
        assert (desk.status_code, ">Expired<" in desk.text) == (200, True)
        assert (await session.reveal("page", asked["approval_id"]))["code"] == "approval.expired"
        assert session.secret_requests == 0


async def test_at_most_three_pages_are_open(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    async with open_session(api, card, tmp_path) as session, httpx.AsyncClient(trust_env=False) as http:
        cards = [api.another_card(card.user_id) for _ in range(4)]
        asked = [await session.reveal("page", card=one) for one in cards]
        answers = [await press_open(one["page"], http) for one in asked]
        assert [answer.status_code for answer in answers] == [200] * 3 + [409]
        assert "Three card pages already wait" in answers[3].text
        assert len(session.vaults) == 3


async def test_a_page_whose_card_was_seen_makes_room_for_the_next(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path) as session:
        cards = [api.another_card(card.user_id) for _ in range(5)]
        for one in cards:
            asked = await session.reveal("page", card=one)
            async with browser(asked["page"]) as person:
                assert (await person.press()).status_code == 200
            await session.ended(asked)
        assert len(session.vaults) <= 3


async def test_pages_refused_elsewhere_make_room_for_others(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    async with open_session(api, card, tmp_path) as session, httpx.AsyncClient(trust_env=False) as http:
        asked = [await session.reveal("page", card=api.another_card(card.user_id)) for _ in range(6)]
        for each in asked[:3]:
            assert (await press_open(each["page"], http)).status_code == 200
            await decide(session.settings, each["approval_id"], yes=False, passphrase=PASSPHRASE)
        assert [(await press_open(each["page"], http)).status_code for each in asked[3:]] == [200] * 3
        assert len(session.vaults) == 3


async def test_expired_pages_make_room_for_others(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    async with open_session(api, card, tmp_path) as session, httpx.AsyncClient(trust_env=False) as http:
        asked = [await session.reveal("page", card=api.another_card(card.user_id)) for _ in range(6)]
        for each in asked[:3]:
            assert (await press_open(each["page"], http)).status_code == 200
            await session.expire(each, time.time())
        assert [(await press_open(each["page"], http)).status_code for each in asked[3:]] == [200] * 3
        assert len(session.vaults) == 3


async def test_a_page_refused_elsewhere_ends_without_being_asked(
    api: Simulator, card: OpenedCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reveal_page, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(reveal_page, "LINGER_SECONDS", 0.05)
    async with open_session(api, card, tmp_path) as session, httpx.AsyncClient(trust_env=False) as http:
        asked, other = [await session.reveal("page", card=api.another_card(card.user_id)) for _ in range(2)]
        for each in (asked, other):
            assert (await press_open(each["page"], http)).status_code == 200
        await decide(session.settings, asked["approval_id"], yes=False, passphrase=PASSPHRASE)
        await session.ended(asked)
        await eventually(lambda: len(session.vaults) == 1)


async def test_a_stopped_server_closes_its_pages_and_leaves_approvals_waiting(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    async with open_session(api, card, tmp_path) as session:
        asked = await session.reveal("page")
        async with browser(asked["page"]):
            (vault,) = session.vaults
    assert not vault.is_running()
    async with opened_app(read_settings(session.settings)) as app:
        approval = await app.guard.approvals.get(asked["approval_id"])
        assert approval is not None
        assert approval.state == "waiting"


async def test_a_failed_fetch_is_reported_by_its_code(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    async with open_session(api, card, tmp_path) as session:
        other = api.another_card(card.user_id)
        asked = await session.reveal("page", card=other)
        api.close(other)
        async with browser(asked["page"]) as person:
            assert other.number not in (await person.press()).text
        await session.ended(asked)
        told = await session.reveal("page", asked["approval_id"], card=other)
        assert (told["code"], told["reason"]) == ("reveal.failed", "partner.rejected")


NEEDS = [("page", "reveal.sinks"), ("sealed", "reveal.sealed_key"), ("model", "reveal.model")]


@pytest.mark.parametrize(("sink", "keys"), NEEDS)
async def test_a_disallowed_sink_is_refused_with_the_setting_to_change(
    api: Simulator, card: OpenedCard, tmp_path: Path, sink: str, keys: str
) -> None:
    policy = '[classes]\nread = "allow"\nreveal = "ask"\n[reveal]\nsinks = ["none"]\n'
    async with open_session(api, card, tmp_path, policy=policy, dialog=True) as session:
        listed = {tool.name: tool for tool in (await session.client.list_tools()).tools}
        assert listed["reveal_card"].input_schema["properties"]["sink"]["enum"] == ["none"]
        refused = await session.reveal(sink)
        assert (refused["code"], refused["limit"], session.person.asked) == ("policy.denied", "reveal.sinks", [])
        assert keys in refused["message"]
        assert (await session.app.guard.channels.waiting(), session.secret_requests) == ([], 0)
        assert (await session.reveal("none"))["status"] == "verified"


async def test_a_sealed_card_opens_with_the_operators_key_and_is_given_once(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    public = make_key_pair(tmp_path / "key")
    policy = f'[classes]\nread = "allow"\nreveal = "ask"\n[reveal]\nsinks = ["sealed"]\nsealed_key = "{public}"\n'
    async with open_session(api, card, tmp_path, policy=policy) as session:
        asked = await session.reveal("sealed")
        assert (asked["code"], session.secret_requests) == ("approval.required", 0)
        (waiting,) = await session.app.guard.channels.waiting()
        assert thumbprint(public.read_bytes()) in waiting.question
        # A process that finds another key in the file can't decide what this server asked.
        key, another = public.read_bytes(), make_key_pair(tmp_path / "other").read_bytes()
        public.write_bytes(another)
        assert await decide(session.settings, asked["approval_id"], passphrase=PASSPHRASE) == "gone"
        public.write_bytes(key)
        assert await decide(session.settings, asked["approval_id"], passphrase="wrong one") == "wrong"
        await end_delays(session.app.guard)
        assert await decide(session.settings, asked["approval_id"], passphrase=PASSPHRASE) == "granted"
        # This server read the key when it started.
        public.write_bytes(another)
        told = await session.reveal("sealed", asked["approval_id"])
        assert (told["status"], told["shown"], session.secret_requests) == ("sealed", "nowhere", 1)
        opened = unseal(tmp_path / "key", told["jwe"])
        assert (opened.pan, opened.cvc, opened.card_id) == (card.number, card.code, card.card_id)
        again = await session.reveal("sealed", asked["approval_id"])
        assert (again["status"], "jwe" in again, session.secret_requests) == ("sealed", False, 1)
        assert told["jwe"].encode() not in session.stored_bytes()
        assert card.number not in json.dumps([asked, told, again])


MODEL = """
version = 1
environment = "embedded"
users = "any"
[classes]
read = "allow"
write = "allow"
money = "ask"
identity = "ask"
consent = "ask"
reveal = "ask"
[cards]
unbounded = true
[reveal]
sinks = ["model"]
model = true
"""


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("with_code", [False, True], ids=["number", "number and code"])
async def test_the_model_gets_the_card_once_after_opt_in_and_approval(
    tmp_path: Path, era: Era, with_code: bool
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(MODEL + f"model_cvc = {str(with_code).lower()}\n", encoding="utf-8")
    policy.chmod(0o600)
    async with agent(tmp_path / "state", era, who="user-1", MACHINES_POLICY=str(policy)) as session:
        await session.to_funded()
        card = await session.call("create_card", limit_amount_cents=5000, limit_frequency="allTime")
        session.person.asked.clear()
        told = await session.call("reveal_card", card_id=card["card_id"], sink="model")
        (question,) = session.person.asked
        assert "THE AI AND ITS PROVIDER WILL SEE IT" in question
        assert ("including the CVC" if with_code else "without the CVC") in question
        assert (told["status"], told["shown"]) == ("released", "model")
        assert re.fullmatch(r"[0-9]{16}", told["pan"])
        assert told["pan"].endswith(card["last4"])
        assert ("cvc" in told) == with_code
        session.person.answer = "decline"
        assert await session.refusal("reveal_card", card_id=card["card_id"], sink="model") == ("approval.refused", None)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert told["pan"].encode() not in kept
    assert sys.getsizeof(kept) > 1000


@pytest.mark.parametrize("era", ERAS)
async def test_over_stdio_the_page_outlives_the_call_and_ends_with_the_server(tmp_path: Path, era: Era) -> None:
    async with agent(tmp_path / "state", era, who="user-1") as session:
        await session.to_funded()
        card = await session.call("create_card", limit_amount_cents=5000, limit_frequency="allTime")
        session.person.asked.clear()
        with pytest.raises(ToolError) as caught:
            await session.call("reveal_card", card_id=card["card_id"], sink="page")
        asked = caught.value.body
        # The client can open pages, so the server offered one.
        assert (asked["code"], session.person.asked) == ("approval.required", [PAGE])
        async with browser(asked["page"]) as person:
            shown = await person.press(None)
        assert card["last4"] in re.sub("<[^>]+>", "", shown.text)
        with anyio.fail_after(PATIENCE):
            told = await session.call(
                "reveal_card", card_id=card["card_id"], sink="page", approval_id=asked["approval_id"]
            )
        assert (told["status"], told["shown"]) == ("shown", "page")
        other = await session.call("create_card", limit_amount_cents=100, limit_frequency="allTime")
        with pytest.raises(ToolError) as caught:
            await session.call("reveal_card", card_id=other["card_id"], sink="page")
        async with browser(caught.value.body["page"]) as person:
            left = person.url
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(left)


async def test_a_scripted_call_waits_for_the_person_at_the_page(
    api: Simulator, card: OpenedCard, tmp_path: Path
) -> None:
    settings = {
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": api.base_url,
        "MACHINES_PARTNER_KEY": api.partner_key,
        "MACHINES_USER_ID": card.user_id,
        "MACHINES_STATE_DIR": str(tmp_path / "state"),
    }
    await set_passphrase(settings, PASSPHRASE)
    arguments = json.dumps({"card_id": card.card_id, "sink": "page"})
    command = (sys.executable, "-m", "machines_mcp", "call", "reveal_card", arguments)
    with anyio.fail_after(PATIENCE):
        async with await anyio.open_process(command, env=settings) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            said = (await process.stderr.receive()).decode()
            (url,) = re.findall(r"for the user at (http://\S+)\.", said)
            async with browser(url) as person:
                await person.press()
            told = json.loads(await process.stdout.receive())
            assert await process.wait() == 0
    assert (told["status"], told["shown"], told["last4"]) == ("shown", "page", card.last4)
