"""Test the vault's page over HTTP, with a wiretap between it and the simulator."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from hashlib import sha256
from html import unescape
from typing import get_args

import anyio
import httpx
import pytest

from machines_mcp.redaction.environment import SIMULATOR_NOTE
from machines_mcp.vault.page import LOOK_SECONDS
from machines_mcp.vault.page_view import PageView
from machines_mcp.vault.reply import Code, Denial, VaultReply, failed
from machines_mcp.vault.request import VaultRequest
from tests.support.clock import advance_loop_clock
from tests.support.vault_simulator import OpenedCard, Simulator, wiretap
from tests.support.waiting import PATIENCE
from tests.vault.children import switchboard
from tests.vault.pages import HANDLE, PASSPHRASE, OpenPage, PageEvents, open_page, open_page_in_vault, page_request

pytestmark = pytest.mark.anyio

OTHER = "http://127.0.0.1:1"

Opens = Callable[[VaultRequest], AbstractAsyncContextManager[OpenPage]]
in_both = pytest.mark.parametrize(
    "opens", [open_page, pytest.param(open_page_in_vault, marks=pytest.mark.check)], ids=["in process", "in a vault"]
)
"""Open the page in this process, and in a vault process."""


def _shown(answer: httpx.Response) -> list[str]:
    """Return the displayed number, expiry and code of the card."""
    cells = re.findall(r"<dd>(.*?)</dd>", answer.text, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in cells]


def _displayed_fields(card: OpenedCard) -> list[str]:
    month, year = card.expiry
    return [card.number, f"{month:02}/{year % 100}", card.code]


def _reply(card: OpenedCard) -> VaultReply:
    month, year = card.expiry
    return VaultReply(
        status="shown",
        code="shown",
        sink="page",
        brand="VISA",
        last4=card.last4,
        expiration_month=month,
        expiration_year=year,
    )


def _contains(answer: httpx.Response, sentence: str) -> bool:
    return sentence in unescape(re.sub(r"\s+", " ", answer.text))


@in_both
async def test_the_right_passphrase_shows_the_card_once(api: Simulator, card: OpenedCard, opens: Opens) -> None:
    async with wiretap(api) as tap, opens(page_request(tap.base_url, api.partner_key, card)) as page:
        asked = await page.get()
        assert asked.status_code == 200
        assert _contains(asked, f"Show the card ending {card.last4}?")
        assert _contains(asked, "Test Client 1.0 <small>self-reported name</small>")
        assert _contains(asked, card.user_id)
        assert _contains(asked, "$50.00 per 30 days")
        assert (tap.posts, page.notes.asked) == (0, 0)
        shown = await page.press()
        assert _shown(shown) == _displayed_fields(card)
        assert await page.notes.end() == _reply(card)
        assert tap.posts == 3
        assert page.notes.asked == 1


async def test_the_card_is_not_shown_a_second_time(api: Simulator, card: OpenedCard) -> None:
    async with wiretap(api) as tap, open_page(page_request(tap.base_url, api.partner_key, card)) as page:
        await page.press()
        for answer in (await page.get(), await page.press(), await page.press("wrong")):
            assert (answer.status_code, _shown(answer)) == (410, [])
            assert _contains(answer, "This card was already shown")
            assert card.number not in answer.text
        assert (tap.posts, page.notes.asked, len(page.notes.replies)) == (3, 1, 1)


async def test_only_one_of_many_concurrent_submissions_shows_the_card(api: Simulator, card: OpenedCard) -> None:
    async with wiretap(api) as tap, open_page(page_request(tap.base_url, api.partner_key, card)) as page:
        answers: list[httpx.Response] = []

        async def press() -> None:
            answers.append(await page.press())

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(press)
        assert sorted(answer.status_code for answer in answers) == [200] + [410] * 7
        assert tap.posts == 3


async def test_without_a_verifier_the_button_shows_the_card(api: Simulator, card: OpenedCard) -> None:
    order = {"verifier": None, "environment": "embedded"}
    async with open_page(page_request(api.base_url, api.partner_key, card, **order)) as page:
        asked = await page.get()
        assert 'name="passphrase"' not in asked.text
        assert _contains(asked, SIMULATOR_NOTE)
        assert _shown(await page.press(None)) == _displayed_fields(card)


@pytest.mark.parametrize("passphrase", ["", "correct horse batterz", "CORRECT HORSE BATTERY", PASSPHRASE + " "])
async def test_a_wrong_passphrase_fetches_nothing_and_allows_a_retry(
    api: Simulator, card: OpenedCard, passphrase: str
) -> None:
    async with wiretap(api) as tap, open_page(page_request(tap.base_url, api.partner_key, card)) as page:
        wrong = await page.press(passphrase)
        assert (wrong.status_code, tap.posts, page.notes.asked) == (403, 0, 0)
        # An empty field is not an attempt.
        assert page.notes.wrongs == (1 if passphrase else 0)
        assert _contains(wrong, "Wrong passphrase." if passphrase else "Type your passphrase first.")
        assert page.notes.replies == []
        assert _shown(await page.press()) == _displayed_fields(card)


async def test_a_wrong_passphrase_delays_even_the_right_one(api: Simulator, card: OpenedCard) -> None:
    request = page_request(api.base_url, api.partner_key, card)
    async with wiretap(api) as tap, open_page(request, PageEvents(delay=4)) as page:
        assert _contains(await page.press("wrong"), "Wrong passphrase. Try again in 4 seconds.")
        for passphrase in (PASSPHRASE, "wrong"):
            delayed = await page.press(passphrase)
            assert (delayed.status_code, _contains(delayed, "Nothing was checked")) == (403, True)
            assert _contains(delayed, "Try again in 4 seconds.")
        # The vault keeps the delay itself, so these tries did not even reach the server.
        assert (page.notes.tries, page.notes.wrongs, page.notes.asked, tap.posts) == (1, 1, 0, 0)
        advance_loop_clock(4)
        assert _shown(await page.press()) == _displayed_fields(card)


async def test_a_delay_by_another_page_is_kept(api: Simulator, card: OpenedCard) -> None:
    request = page_request(api.base_url, api.partner_key, card)
    async with wiretap(api) as tap, open_page(request, PageEvents(waits=[1])) as page:
        assert _contains(await page.press(), "Try again in 1 second.")
        assert (page.notes.wrongs, page.notes.asked, tap.posts) == (0, 0, 0)
        advance_loop_clock(1)
        assert _shown(await page.press()) == _displayed_fields(card)


async def test_a_right_passphrase_whose_browser_is_gone_is_not_a_wrong_one(
    api: Simulator, card: OpenedCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_gone(receive: object) -> bool:
        return True

    async with open_page(page_request(api.base_url, api.partner_key, card)) as page:
        with monkeypatch.context() as patched:
            patched.setattr("machines_mcp.vault.page._is_gone", is_gone)
            assert (await page.press()).status_code == 200
        assert (page.notes.tries, page.notes.wrongs, page.notes.asked) == (1, 0, 0)
        assert _shown(await page.press()) == _displayed_fields(card)


async def test_the_passphrase_can_refuse_the_reveal(api: Simulator, card: OpenedCard) -> None:
    async with wiretap(api) as tap, open_page(page_request(tap.base_url, api.partner_key, card)) as page:
        assert (await page.press("wrong", "refuse")).status_code == 403
        assert page.notes.replies == []
        refused = await page.press(decision="refuse")
        assert (refused.status_code, _contains(refused, "Refused")) == (200, True)
        assert await page.notes.end() == failed("page.refused")
        assert (page.notes.asked, tap.posts) == (0, 0)


@pytest.mark.parametrize("decision", ["", "SHOW", "yes"])
async def test_only_the_decision_show_shows_the_card(api: Simulator, card: OpenedCard, decision: str) -> None:
    async with wiretap(api) as tap, open_page(page_request(tap.base_url, api.partner_key, card)) as page:
        await page.press(decision=decision)
        assert (await page.notes.end()).code == "page.refused"
        assert tap.posts == 0


@pytest.mark.parametrize("decision", ["show", "refuse"])
async def test_a_refusal_by_the_server_fetches_nothing(api: Simulator, card: OpenedCard, decision: str) -> None:
    async with (
        wiretap(api) as tap,
        open_page(page_request(tap.base_url, api.partner_key, card), PageEvents(denied="page.gone")) as page,
    ):
        gone = await page.press(decision=decision)
        assert (gone.status_code, _contains(gone, "This request is no longer open")) == (410, True)
        assert await page.notes.end() == failed("page.gone")
        assert tap.posts == 0


@in_both
async def test_a_reload_during_the_fetch_neither_asks_nor_fetches_again(
    api: Simulator, card: OpenedCard, opens: Opens
) -> None:
    async with wiretap(api) as tap, opens(page_request(tap.base_url, api.partner_key, card)) as page:
        gate = tap.hold()
        shown: list[httpx.Response] = []

        async def press() -> None:
            shown.append(await page.press())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(press)
            with anyio.fail_after(PATIENCE):
                await tap.connected.wait()
            for _ in range(2):
                fetching = await page.get()
                assert (fetching.status_code, _contains(fetching, "The card is being fetched")) == (200, True)
                assert "<form" not in fetching.text
                assert f'<meta http-equiv="refresh" content="2;url=/{HANDLE}">' in fetching.text
            gate.set()
        assert _shown(shown[0]) == _displayed_fields(card)
        assert _contains(await page.get(), "This card was already shown")
        assert (tap.posts, page.notes.asked, await page.notes.end()) == (3, 1, _reply(card))


@pytest.mark.parametrize("lapsed", ["page.expired", "page.refused_elsewhere"])
@in_both
async def test_a_page_whose_request_was_decided_elsewhere_says_so_when_it_is_loaded(
    api: Simulator, card: OpenedCard, opens: Opens, lapsed: Denial
) -> None:
    async with opens(page_request(api.base_url, api.partner_key, card)) as page:
        page.notes.lapsed = lapsed
        for answer in (await page.get(), await page.get(), await page.press()):
            assert (answer.status_code, _contains(answer, "This request is no longer open")) == (410, True)
        assert await page.notes.end() == failed(lapsed)
        assert (page.notes.tries, page.notes.asked) == (0, 0)


async def test_a_page_loaded_during_a_decision_leaves_the_end_to_it(api: Simulator, card: OpenedCard) -> None:
    notes = PageEvents()
    async with open_page(page_request(api.base_url, api.partner_key, card), notes) as page:
        asked, told = anyio.Event(), anyio.Event()

        async def slow_look() -> Denial | None:
            asked.set()
            await told.wait()
            return "page.refused_elsewhere"

        async def try_then_tell() -> int:
            told.set()
            await anyio.wait_all_tasks_blocked()
            return 0

        vars(notes).update(on_look=slow_look, on_try=try_then_tell, denied="page.refused_elsewhere")
        answers: list[httpx.Response] = []

        async def load() -> None:
            answers.append(await page.get())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load)
            with anyio.fail_after(PATIENCE):
                await asked.wait()
            answers.append(await page.press())
        assert [answer.status_code for answer in answers] == [410, 410]
        assert await notes.end() == failed("page.refused_elsewhere")
        assert (notes.wrongs, notes.asked) == (0, 1)


async def test_a_silent_server_delays_the_question_briefly(api: Simulator, card: OpenedCard) -> None:
    async with open_page(page_request(api.base_url, api.partner_key, card)) as page:
        asked = anyio.Event()

        async def silent() -> Denial | None:
            asked.set()
            await anyio.sleep_forever()
            raise AssertionError

        async def pass_time() -> None:
            with anyio.fail_after(PATIENCE):
                await asked.wait()
            advance_loop_clock(LOOK_SECONDS)

        vars(page.notes)["on_look"] = silent
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_time)
            answer = await page.get()
        assert _contains(answer, f"Show the card ending {card.last4}?")


async def test_an_unexpected_error_during_the_fetch_ends_the_page(
    api: Simulator, card: OpenedCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(request: VaultRequest) -> None:
        raise RuntimeError

    monkeypatch.setattr("machines_mcp.vault.page.fetch_card", broken)
    async with open_page(page_request(api.base_url, api.partner_key, card)) as page:
        for answer in (await page.press(), await page.get()):
            assert (answer.status_code, _contains(answer, "The card could not be shown")) == (410, True)
        assert await page.notes.end() == failed("internal")


def test_every_ending_of_a_page_has_its_own_text(card: OpenedCard) -> None:
    view = PageView(page_request("http://127.0.0.1:9", "key", card), "token")
    codes: set[Code] = {*get_args(Denial), "page.refused", "page.left", "shown", "internal"}
    assert len({view.final(code).body for code in codes}) == len(codes)


async def test_an_upstream_refusal_is_reported_to_person_and_server(api: Simulator, card: OpenedCard) -> None:
    async with open_page(page_request(api.base_url, "no-such-key", card)) as page:
        answer = await page.press()
        assert (answer.status_code, _shown(answer)) == (410, [])
        assert _contains(answer, "The card could not be loaded from Machines")
        assert await page.notes.end() == failed("partner.rejected")


async def test_the_number_of_another_card_is_not_shown(api: Simulator, card: OpenedCard) -> None:
    other = str((int(card.last4) + 1) % 10_000).zfill(4)
    async with open_page(page_request(api.base_url, api.partner_key, card, last4=other)) as page:
        answer = await page.press()
        assert _contains(answer, "The card failed the checks")
        assert (card.number in answer.text, await page.notes.end()) == (False, failed("secrets.mismatch"))


@pytest.mark.check
async def test_a_silent_upstream_times_out_with_the_page(api: Simulator, card: OpenedCard) -> None:
    async with switchboard() as board:
        slow = page_request(f"http://127.0.0.1:{board.port}/partner/v1", api.partner_key, card, deadline_seconds=8.0)
        async with open_page_in_vault(slow) as page:
            answer = await page.press()
            assert _contains(answer, "The card could not be loaded from Machines")
            assert await page.notes.end() == failed("partner.unavailable")
            await page.notes.gone.wait()


@pytest.mark.check
async def test_an_unanswered_page_closes_at_its_deadline(api: Simulator, card: OpenedCard) -> None:
    request = page_request(api.base_url, api.partner_key, card, deadline_seconds=6.0)
    async with wiretap(api) as tap, open_page_in_vault(request) as page:
        assert await page.notes.end() == failed("page.unused")
        with anyio.fail_after(PATIENCE):
            await page.notes.gone.wait()
        assert tap.posts == 0


@pytest.mark.check
async def test_every_response_forbids_embedding_and_caching(api: Simulator, card: OpenedCard) -> None:
    async with open_page_in_vault(page_request(api.base_url, api.partner_key, card)) as page:
        answers = [await page.get(), await page.post({}), await page.press("wrong"), await page.press()]
        answers += [await page.press(), await page.http.get(page.origin)]
    assert [answer.status_code for answer in answers] == [200, 403, 403, 200, 410, 404]
    # Those with a form: a page without a referrer sends its form without an origin, too.
    policies = [answer.headers["referrer-policy"] for answer in answers]
    assert policies == ["same-origin", "no-referrer", "same-origin", "same-origin", "no-referrer", "no-referrer"]
    for answer in answers:
        headers = answer.headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers
        assert "set-cookie" not in headers
        rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
        # The question asks whether it is still open, and the card for more time. No other page loads anything.
        assert rules.pop("connect-src", None) == ("'self'" if "<form" in answer.text else None)
        assert re.fullmatch(r"'sha256-[^' ]+'", rules.pop("style-src"))
        assert re.fullmatch(r"'sha256-[^' ]+'", rules.pop("script-src"))
        assert "clipboard-write=()" in headers["permissions-policy"]
        assert rules == {
            "default-src": "'none'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }


@pytest.mark.parametrize("may_copy", [False, True])
async def test_only_the_card_has_copy_buttons_and_only_if_the_policy_allows_it(
    api: Simulator, card: OpenedCard, *, may_copy: bool
) -> None:
    async with open_page(page_request(api.base_url, api.partner_key, card, may_copy=may_copy)) as page:
        pages = {"question": await page.get(), "card": await page.press(), "end": await page.get()}
    for name, answer in pages.items():
        copies = may_copy and name == "card"
        labels = ["Copy card number", "Copy CVC"] if copies else []
        assert re.findall(r'aria-label="(Copy [^"]+)"', answer.text) == labels, name
        assert ("clipboard" in re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)) is copies, name
        assert f"clipboard-write={'(self)' if copies else '()'}" in answer.headers["permissions-policy"], name
        scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
        hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
        assert len(hashes) == (2 if copies else 1), name
        listed = " ".join(f"'sha256-{each}'" for each in hashes)
        assert f"; script-src {listed};" in answer.headers["content-security-policy"], name
    assert _shown(pages["card"]) == _displayed_fields(card)


async def test_external_text_is_escaped_on_the_page(api: Simulator, card: OpenedCard) -> None:
    markup = "<script>alert(1)</script><b>\"'&"
    async with open_page(page_request(api.base_url, api.partner_key, card, asked_by=markup)) as page:
        asked = (await page.get()).text
        assert markup not in asked
        assert markup in unescape(asked)


# Each refused request: its headers, form or path, and its status.
async def _attacks(page: OpenPage) -> dict[str, httpx.Response]:
    form = page.form()
    no_token = {name: value for name, value in form.items() if name != "token"}
    act = f"{page.url}/decide"
    navigated = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    rebound = {"Host": f"evil.example:{page.notes.port}"}
    return {
        "421 another host": await page.post(form, **rebound),
        "421 a rebound name reads": await page.get(**rebound),
        "421 no port": await page.post(form, Host="127.0.0.1"),
        "421 localhost": await page.get(Host=f"localhost:{page.notes.port}"),
        "403 another origin": await page.post(form, Origin=OTHER),
        "403 a null origin": await page.post(form, Origin="null"),
        "403 no origin": await page.post(form, Origin=""),
        "403 another site": await page.post(form, **{"Sec-Fetch-Site": "cross-site"}),
        "403 the same site": await page.post(form, **{"Sec-Fetch-Site": "same-site"}),
        "403 navigated to": await page.post(form, **{"Sec-Fetch-Site": "none"}),
        "403 no token": await page.post(no_token),
        "403 another token": await page.post(form | {"token": "x" * 43}),
        "403 an empty form": await page.post({}),
        "403 another type": await page.post(form, **{"Content-Type": "text/plain"}),
        "403 too long": await page.post(form | {"passphrase": "x" * 5000}),
        "403 no form of ours": await page.post(form | {"one": "1", "two": "2"}),
        "403 an image": await page.get(**{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}),
        "403 a frame": await page.get(
            **navigated | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"},
        ),
        "403 a script of another site": await page.get(
            Origin=OTHER, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
        ),
        "405 the form's path read": await page.http.get(act),
        "405 the page's path written": await page.post(form, page.url),
        "405 another method": await page.http.put(act, headers={"Origin": page.origin}),
        "404 another handle": await page.post(form, act.replace(HANDLE, "x" * 24)),
        "404 no handle": await page.post(form, f"{page.origin}/decide"),
        "404 a longer path": await page.post(form, f"{act}/"),
        "403 more time with the question's token": await page.post(form, f"{page.url}/more"),
        "403 more time without a token": await page.post({}, f"{page.url}/more"),
        "405 more time read": await page.http.get(f"{page.url}/more"),
        "405 the end written": await page.post(form, f"{page.url}/end"),
        "403 curl without a passphrase": await page.post(page.form(None)),
        "403 curl with a guess": await page.post(page.form("open sesame")),
    }


@in_both
async def test_refused_requests_get_no_data_and_fetch_nothing(api: Simulator, card: OpenedCard, opens: Opens) -> None:
    async with wiretap(api) as tap, opens(page_request(tap.base_url, api.partner_key, card)) as page:
        for name, answer in (await _attacks(page)).items():
            assert (name, answer.status_code) == (name, int(name[:3]))
            assert (name, _contains(answer, card.user_id)) == (name, "curl" in name)
        assert (tap.posts, page.notes.asked, page.notes.replies) == (0, 0, [])
        # Only the one guess counts: the others never reached the passphrase check.
        assert page.notes.wrongs == 1
        assert _shown(await page.press()) == _displayed_fields(card)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
        pytest.param({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
        pytest.param({"Sec-Fetch-Site": "same-origin"}),
    ],
    ids=["a link in a chat", "typed", "reloaded"],
)
async def test_the_page_opens_from_a_link_or_a_typed_address(
    api: Simulator, card: OpenedCard, headers: dict[str, str]
) -> None:
    async with open_page(page_request(api.base_url, api.partner_key, card)) as page:
        assert (await page.get(**headers)).status_code == 200


@pytest.mark.check
async def test_a_disconnect_before_the_fetch_prevents_it(api: Simulator, card: OpenedCard) -> None:
    async with wiretap(api) as tap, open_page_in_vault(page_request(tap.base_url, api.partner_key, card)) as page:
        async with await anyio.connect_tcp("127.0.0.1", page.notes.port) as stream:
            await stream.send(_raw_press(page))
        # Submissions are queued: this one is checked afterwards and finds the page unchanged.
        assert (await page.press("wrong")).status_code == 403
        assert (tap.posts, page.notes.asked) == (0, 0)


def _raw_press(page: OpenPage) -> bytes:
    """Return the bytes of a submitted form with the right passphrase."""
    form = page.form() | {"passphrase": "correct+horse+battery"}
    body = "&".join(f"{name}={value}" for name, value in form.items())
    head = (
        f"POST /{HANDLE}/decide HTTP/1.1\r\nHost: 127.0.0.1:{page.notes.port}\r\nOrigin: {page.origin}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


@pytest.mark.check
async def test_a_disconnect_during_the_fetch_shows_the_card_to_nobody(api: Simulator, card: OpenedCard) -> None:
    async with wiretap(api) as tap, open_page_in_vault(page_request(tap.base_url, api.partner_key, card)) as page:
        gate = tap.hold()
        async with await anyio.connect_tcp("127.0.0.1", page.notes.port) as stream:
            await stream.send(_raw_press(page))
            with anyio.fail_after(PATIENCE):
                await tap.connected.wait()
        # The vault learns of the closed connection before it serves this one.
        assert _contains(await page.get(), "The card is being fetched")
        gate.set()
        assert await page.notes.end() == failed("page.left")
        left = await page.get()
        assert (left.status_code, _contains(left, "The card was not shown")) == (410, True)
        assert (await page.press()).text == left.text
        assert (tap.posts, page.notes.asked) == (3, 1)


@pytest.mark.check
async def test_idle_connections_do_not_keep_the_person_out(api: Simulator, card: OpenedCard) -> None:
    async with open_page_in_vault(page_request(api.base_url, api.partner_key, card)) as page, AsyncExitStack() as stack:
        for _ in range(100):
            await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", page.notes.port))
        assert _shown(await page.press()) == _displayed_fields(card)
