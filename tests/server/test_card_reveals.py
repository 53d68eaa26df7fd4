"""Reveals from the call to the card: a real server, a real vault, the real simulator, and a person at the page."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import psutil
import pytest
from mcp import Client

from machines_mcp.protocol.elicitation import PAGE
from machines_mcp.redaction.secret import Secret
from machines_mcp.server import card_reveals
from machines_mcp.server.app import App
from machines_mcp.server.app import opened as opened_app
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.testing import decide, set_passphrase
from machines_mcp.vault.keypair import make_key_pair, unseal
from tests.journeys.stdio import ERAS, Era, Person, ToolError, agent
from tests.support.waiting import PATIENCE
from tests.vault.simulator import Card, Simulator, Wiretap, simulator, wiretap

pytestmark = pytest.mark.anyio

PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def api() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture(scope="module")
def card(api: Simulator) -> Card:
    return api.card("user-1")


@dataclass
class Desk:
    """An agent's client, the server behind it, and what passes between that and the Partner API."""

    app: App
    client: Client
    tap: Wiretap
    card: Card
    person: Person
    settings: dict[str, str]

    async def reveal(self, sink: str, approval_id: str | None = None, card: Card | None = None) -> dict[str, Any]:
        arguments = {"card_id": (card or self.card).card_id, "sink": sink}
        with anyio.fail_after(PATIENCE):
            answer = await self.client.call_tool(
                "reveal_card", arguments | ({} if approval_id is None else {"approval_id": approval_id})
            )
        return dict(json.loads(getattr(answer.content[0], "text", "")))

    async def ended(self, asked: dict[str, Any]) -> None:
        """Until the end of the page is in its intent."""
        with anyio.fail_after(PATIENCE):
            await self.app.reveals.ended(asked["approval_id"])

    @property
    def fetched(self) -> int:
        """How often a card's secrets were asked for."""
        return self.tap.heard.count(b"/secrets HTTP")

    @property
    def vaults(self) -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if "machines_mcp.vault" in child.cmdline()]

    def kept(self) -> bytes:
        """All that the server left in its folder."""
        folder = Path(self.settings["MACHINES_STATE_DIR"])
        return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@dataclass
class Browser:
    """A person's browser on a page of the vault."""

    url: str
    http: httpx.AsyncClient

    async def press(self, passphrase: str | None = PASSPHRASE, decision: str = "show") -> httpx.Response:
        token = re.findall('name="token" value="([^"]+)"', (await self.http.get(self.url)).text)[0]
        form = {"token": token, "decision": decision} | ({} if passphrase is None else {"passphrase": passphrase})
        origin = self.url.rsplit("/", 1)[0]
        return await self.http.post(f"{self.url}/decide", data=form, headers={"Origin": origin})


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        yield Browser(url, http)


@asynccontextmanager
async def desk(
    api: Simulator,
    card: Card,
    folder: Path,
    *,
    passphrase: str | None = PASSPHRASE,
    policy: str = "",
    dialog: bool = False,
) -> AsyncIterator[Desk]:
    """A server of the environment `sandbox` over the simulator, with the person's passphrase."""
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
        person = Person()
        async with (
            opened_app(read_settings(settings)) as app,
            Client(app.server(), elicitation_callback=person if dialog else None) as client,
        ):
            yield Desk(app, client, tap, card, person, settings)


async def test_a_person_sees_the_card_and_the_model_hears_that_they_did(
    api: Simulator, card: Card, tmp_path: Path
) -> None:
    async with desk(api, card, tmp_path) as at:
        asked = await at.reveal("page")
        assert (asked["code"], asked["retryable"]) == ("approval.required", True)
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/[A-Za-z0-9_-]{22}", asked["page"])
        waiting = await at.reveal("page", asked["approval_id"])
        assert (waiting["code"], waiting["page"], at.fetched) == ("approval.required", asked["page"], 0)
        async with browser(asked["page"]) as person:
            shown = await person.press()
        assert card.number in re.sub("<[^>]+>", "", shown.text)
        await at.ended(asked)
        told = await at.reveal("page", asked["approval_id"])
        month, year = card.expiry
        assert {name: told[name] for name in ("status", "shown", "last4", "expiration_month", "expiration_year")} == {
            "status": "shown",
            "shown": "page",
            "last4": card.last4,
            "expiration_month": month,
            "expiration_year": year,
        }
        assert at.fetched == 1
        # Once more and it is the same answer, not another card shown.
        assert await at.reveal("page", asked["approval_id"]) == told
        assert at.fetched == 1
        assert card.number.encode() not in at.kept()
        assert card.number not in json.dumps([asked, waiting, told])


async def test_a_call_that_comes_while_the_card_is_fetched_waits_for_what_becomes_of_it(
    api: Simulator, card: Card, tmp_path: Path
) -> None:
    async with desk(api, card, tmp_path) as at:
        asked = await at.reveal("page")
        taken = anyio.Event()
        take = at.app.guard.channels.grant_and_consume

        async def told_take(*given: Any) -> Any:
            decision = await take(*given)
            taken.set()
            return decision

        object.__setattr__(at.app.guard.channels, "grant_and_consume", told_take)
        async with browser(asked["page"]) as person, anyio.create_task_group() as tasks:
            tasks.start_soon(person.press)
            with anyio.fail_after(PATIENCE):
                await taken.wait()
            assert (await at.reveal("page", asked["approval_id"]))["status"] == "shown"


async def test_calls_that_come_together_open_one_page(api: Simulator, card: Card, tmp_path: Path) -> None:
    async with desk(api, card, tmp_path) as at:
        answers: list[dict[str, Any]] = []

        async def ask() -> None:
            answers.append(await at.reveal("page"))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
        assert len({(answer["page"], answer["approval_id"]) for answer in answers}) == 1
        assert len(at.vaults) == 1


async def test_no_dialog_desk_or_terminal_can_grant_what_the_page_asks(
    api: Simulator, card: Card, tmp_path: Path
) -> None:
    async with desk(api, card, tmp_path, dialog=True) as at:
        asked = await at.reveal("page")
        # Its client can open a page, so it was offered the one; nothing was asked in a dialog.
        assert (asked["code"], at.person.asked) == ("approval.required", [PAGE])
        assert await decide(at.settings, asked["approval_id"], passphrase=PASSPHRASE) == "not_allowed"
        assert (await at.reveal("page", asked["approval_id"]))["code"] == "approval.required"
        assert at.fetched == 0


@pytest.mark.parametrize("way", ["page", "terminal"])
async def test_a_refusal_is_told_and_ends_it(api: Simulator, card: Card, tmp_path: Path, way: str) -> None:
    async with desk(api, card, tmp_path) as at:
        asked = await at.reveal("page")
        async with browser(asked["page"]) as person:
            if way == "page":
                await person.press(decision="refuse")
            else:
                await decide(at.settings, asked["approval_id"], yes=False, passphrase=PASSPHRASE)
                assert "no longer open" in (await person.press()).text
        await at.ended(asked)
        assert (await at.reveal("page", asked["approval_id"]))["code"] == "approval.refused"
        assert at.fetched == 0


async def test_five_wrong_passphrases_lock_the_page_and_the_next_one(
    api: Simulator, card: Card, tmp_path: Path
) -> None:
    async with desk(api, card, tmp_path) as at:
        asked = await at.reveal("page")
        async with browser(asked["page"]) as person:
            assert [(await person.press("wrong one")).status_code for _ in range(5)] == [403] * 4 + [410]
        await at.app.guard.audit.flush()
        again = await at.reveal("page", asked["approval_id"])
        assert (again["code"], "page" in again, "locked" in again["message"]) == ("approval.required", False, True)
        assert await decide(at.settings, asked["approval_id"], yes=False, passphrase=PASSPHRASE) == "locked"
        assert at.fetched == 0


async def test_a_passphrase_that_was_locked_elsewhere_opens_no_page_that_is_open(
    api: Simulator, card: Card, tmp_path: Path
) -> None:
    async with desk(api, card, tmp_path) as at:
        asked = await at.reveal("page")
        for _ in range(5):
            await at.app.guard.passphrase.check(Secret("wrong one"), "desk")
        async with browser(asked["page"]) as person:
            assert "no longer open" in (await person.press()).text
        assert at.fetched == 0


async def test_without_a_passphrase_no_vault_is_started(api: Simulator, card: Card, tmp_path: Path) -> None:
    async with desk(api, card, tmp_path, passphrase=None) as at:
        asked = await at.reveal("page")
        assert (asked["code"], "page" in asked, at.vaults) == ("approval.required", False, [])
        assert "machines-mcp passphrase" in asked["where"]


async def test_a_page_that_closed_unused_is_opened_anew(
    api: Simulator, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_reveals, "PAGE_SECONDS", 5.0)
    async with desk(api, card, tmp_path) as at:
        asked = await at.reveal("page")
        await at.ended(asked)
        again = await at.reveal("page", asked["approval_id"])
        assert (again["code"], again["page"] != asked["page"]) == ("approval.required", True)
        assert at.fetched == 0


async def test_three_pages_are_open_at_most(api: Simulator, card: Card, tmp_path: Path) -> None:
    async with desk(api, card, tmp_path) as at:
        cards = [api.another_card(card.user_id) for _ in range(4)]
        answers = [await at.reveal("page", card=one) for one in cards]
        assert [answer["code"] for answer in answers] == ["approval.required"] * 3 + ["rate.limited"]
        assert len(at.vaults) == 3


async def test_the_end_of_the_server_ends_its_pages_and_leaves_no_intent_half_done(
    api: Simulator, card: Card, tmp_path: Path
) -> None:
    async with desk(api, card, tmp_path) as at:
        asked = await at.reveal("page")
        (vault,) = at.vaults
    assert not vault.is_running()
    async with opened_app(read_settings(at.settings)) as app:
        approval = await app.guard.approvals.get(asked["approval_id"])
        assert approval is not None
        assert approval.state == "waiting"


async def test_a_fetch_that_fails_is_told_to_the_model_by_its_code(api: Simulator, card: Card, tmp_path: Path) -> None:
    async with desk(api, card, tmp_path) as at:
        other = api.another_card(card.user_id)
        asked = await at.reveal("page", card=other)
        api.close(other)
        async with browser(asked["page"]) as person:
            assert other.number not in (await person.press()).text
        await at.ended(asked)
        told = await at.reveal("page", asked["approval_id"], card=other)
        assert (told["code"], told["reason"]) == ("reveal.failed", "partner.rejected")


NEEDS = [("page", "reveal.sinks"), ("sealed", "reveal.sealed_key"), ("model", "reveal.model")]


@pytest.mark.parametrize(("sink", "keys"), NEEDS)
async def test_a_sink_that_is_not_allowed_is_refused_with_what_the_operator_would_have_to_do(
    api: Simulator, card: Card, tmp_path: Path, sink: str, keys: str
) -> None:
    policy = '[classes]\nread = "allow"\nreveal = "ask"\n[reveal]\nsinks = ["none"]\n'
    async with desk(api, card, tmp_path, policy=policy, dialog=True) as at:
        listed = {tool.name: tool for tool in (await at.client.list_tools()).tools}
        assert listed["reveal_card"].input_schema["properties"]["sink"]["enum"] == ["none"]
        refused = await at.reveal(sink)
        assert (refused["code"], refused["limit"], at.person.asked) == ("policy.denied", "reveal.sinks", [])
        assert keys in refused["message"]
        assert (await at.app.guard.channels.waiting(), at.fetched) == ([], 0)
        assert (await at.reveal("none"))["status"] == "verified"


async def test_a_sealed_card_opens_for_the_operators_key_and_is_given_once(
    api: Simulator, card: Card, tmp_path: Path
) -> None:
    public = make_key_pair(tmp_path / "key")
    policy = f'[classes]\nread = "allow"\nreveal = "ask"\n[reveal]\nsinks = ["sealed"]\nsealed_key = "{public}"\n'
    async with desk(api, card, tmp_path, policy=policy) as at:
        asked = await at.reveal("sealed")
        assert (asked["code"], at.fetched) == ("approval.required", 0)
        assert await decide(at.settings, asked["approval_id"], passphrase="wrong one") == "wrong"
        assert await decide(at.settings, asked["approval_id"], passphrase=PASSPHRASE) == "granted"
        told = await at.reveal("sealed", asked["approval_id"])
        assert (told["status"], told["shown"], at.fetched) == ("sealed", "nowhere", 1)
        opened = unseal(tmp_path / "key", told["jwe"])
        assert (opened.pan, opened.cvc, opened.card_id) == (card.number, card.code, card.card_id)
        again = await at.reveal("sealed", asked["approval_id"])
        assert (again["status"], "jwe" in again, at.fetched) == ("sealed", False, 1)
        assert told["jwe"].encode() not in at.kept()
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
async def test_the_model_gets_the_card_once_and_only_as_the_operator_and_a_person_said(
    tmp_path: Path, era: Era, with_code: bool
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(MODEL + f"model_cvc = {str(with_code).lower()}\n", encoding="utf-8")
    policy.chmod(0o600)
    async with agent(tmp_path / "state", era, who="user-1", MACHINES_POLICY=str(policy)) as at:
        await at.to_funded()
        card = await at.call("create_card", limit_amount_cents=5000, limit_frequency="allTime")
        at.person.asked.clear()
        told = await at.call("reveal_card", card_id=card["card_id"], sink="model")
        (question,) = at.person.asked
        assert "THE AI AND ITS PROVIDER WILL SEE IT" in question
        assert ("including the CVC" if with_code else "without the CVC") in question
        assert (told["status"], told["shown"]) == ("released", "model")
        assert re.fullmatch(r"[0-9]{16}", told["pan"])
        assert told["pan"].endswith(card["last4"])
        assert ("cvc" in told) == with_code
        at.person.answer = "decline"
        assert await at.refusal("reveal_card", card_id=card["card_id"], sink="model") == ("approval.refused", None)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert told["pan"].encode() not in kept
    assert sys.getsizeof(kept) > 1000


@pytest.mark.parametrize("era", ERAS)
async def test_over_stdio_the_page_outlives_the_call_and_goes_with_the_server(tmp_path: Path, era: Era) -> None:
    async with agent(tmp_path / "state", era, who="user-1") as at:
        await at.to_funded()
        card = await at.call("create_card", limit_amount_cents=5000, limit_frequency="allTime")
        at.person.asked.clear()
        with pytest.raises(ToolError) as caught:
            await at.call("reveal_card", card_id=card["card_id"], sink="page")
        asked = caught.value.body
        # Its client can open a page, so it was offered the one.
        assert (asked["code"], at.person.asked) == ("approval.required", [PAGE])
        async with browser(asked["page"]) as person:
            shown = await person.press(None)
        assert card["last4"] in re.sub("<[^>]+>", "", shown.text)
        with anyio.fail_after(PATIENCE):
            told = await at.call("reveal_card", card_id=card["card_id"], sink="page", approval_id=asked["approval_id"])
        assert (told["status"], told["shown"]) == ("shown", "page")
        other = await at.call("create_card", limit_amount_cents=100, limit_frequency="allTime")
        with pytest.raises(ToolError) as caught:
            await at.call("reveal_card", card_id=other["card_id"], sink="page")
    async with browser(caught.value.body["page"]) as person:
        with pytest.raises(httpx.ConnectError):
            await person.press(None)


async def test_a_scripted_call_waits_for_the_person_at_the_page(api: Simulator, card: Card, tmp_path: Path) -> None:
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
