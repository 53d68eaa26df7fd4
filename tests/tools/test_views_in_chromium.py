"""Test the views in Chromium, inside a host page and a sandbox proxy that follow the extension's specification."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from machines_mcp.tools.views import APPROVAL, CARD, VIEWS
from tests.support.axe import axe_source
from tests.support.browser import CONTRAST, Tab, chromium, tab
from tests.support.view_host import ViewHost, view_host
from tests.support.view_results import USER, Result, view_results

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]

PAGES = {view.uri: view.html() for view in VIEWS}
CSP: dict[str, list[str]] = {}
# Each picture of a view: its page, the call's result, and the title that it ends with.
SCENES = {
    "nothing": (APPROVAL, "nothing", "Nothing waits for approval"),
    "status": (APPROVAL, "status", "3 calls wait for approval"),
    "required": (APPROVAL, "required", "Waiting for a person"),
    "form": (APPROVAL, "form", "Waiting for a person"),
    "verify": (APPROVAL, "verify", "Identity check"),
    "denied": (APPROVAL, "denied", "Identity check"),
    "passed": (APPROVAL, "passed", "Identity check"),
    "agreed": (APPROVAL, "agreed", "Done"),
    "card": (CARD, "card", "Card ending"),
    "locked": (CARD, "locked", "Card ending"),
    "cards": (CARD, "cards", "2 cards"),
    "closed": (CARD, "closed", "The card is closed"),
    "page": (CARD, "page", "Waiting for a person"),
    "no_card": (CARD, "no_card", "This did not succeed"),
}
TITLED = "document.getElementById('title').textContent"
BUTTONS = "[...document.querySelectorAll('button')].map((one) => one.firstChild.textContent)"
HEADLINES = "[...document.querySelectorAll('.rows .what')].map((one) => one.firstChild.textContent)"
LABELS = "[...document.querySelectorAll('.by')].map((one) => one.textContent)"
MARKUP = "<img src=x onerror=\"parent.postMessage('owned','*')\"><script>parent.postMessage('owned','*')</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = chromium()
    assert program is not None
    with tab(program, tmp_path_factory.mktemp("profile")) as opened:
        opened.call("Emulation.setScrollbarsHidden", hidden=True)
        yield opened


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    return anyio.run(view_results, tmp_path_factory.mktemp("state"))


@pytest.fixture
def hosted(page: Tab) -> Iterator[tuple[ViewHost, list[str]]]:
    with view_host(page, CSP) as found:
        yield found


@pytest.fixture
def host(hosted: tuple[ViewHost, list[str]]) -> ViewHost:
    return hosted[0]


def body(result: Result) -> dict[str, Any]:
    """Return the object of a result."""
    found: dict[str, Any] = json.loads(result["content"][0]["text"])
    return found


def show(host: ViewHost, results: dict[str, Result], name: str, **plan: Any) -> None:
    """Show a scene, and wait for it."""
    uri, result, title = SCENES[name]
    host.show(PAGES[uri], result=results[result], **{"answers": {"status": results["status"]}} | plan)
    host.until(f"{TITLED}.startsWith({json.dumps(title)})")


def test_a_waiting_call_is_shown_with_the_servers_question_and_opens_the_desk_at_it(
    host: ViewHost, results: dict[str, Result]
) -> None:
    required = body(results["required"])
    show(host, results, "required", tool="create_card")
    host.until("document.body.innerText.includes('Issue a virtual card')")
    (question,) = (
        one["question"] for one in body(results["status"])["waiting"] if one["approval_id"] == required["approval_id"]
    )
    assert question in host.text() and "machines-mcp approve" in host.text()
    assert "can't" in host.text() and "Tell the user" not in host.text()
    assert host.inside(BUTTONS) == ["Open the desk", "Check again"]
    host.press("open")
    host.until("document.getElementById('live').textContent === 'Opened in your browser.'")
    (opened,) = host.sent("ui/open-link")
    assert opened["params"] == {"url": f"{required['desk']}decisions/{required['approval_id']}"}
    assert [call["params"] for call in host.sent("tools/call")] == [{"name": "status", "arguments": {}}]


def test_a_call_that_no_longer_waits_is_said_to_be_decided(host: ViewHost, results: dict[str, Result]) -> None:
    show(host, results, "required", answers={"status": results["nothing"]})
    host.press("again")
    host.until_title("It no longer waits")
    assert "A person decided it, it expired, or the assistant withdrew it." in host.text()
    assert "The assistant gets the outcome" in host.text()
    assert host.inside(BUTTONS) == ["Check again"]


def test_a_call_that_a_long_list_leaves_out_is_not_said_to_be_decided(
    host: ViewHost, page: Tab, results: dict[str, Result]
) -> None:
    long = success(body(results["nothing"]) | {"not_listed": "Not listed: 1 more waiting for approval."})
    show(host, results, "required", answers={"status": long})
    page.until("window.sent('tools/call').length === 1")
    host.press("again")
    page.until("window.sent('tools/call').length >= 2")
    host.until("document.querySelector('[data-key=again]').getAttribute('aria-disabled') === null")
    assert host.inside(TITLED) == "Waiting for a person"


@pytest.mark.parametrize(("name", "label"), [("form", "Open the form"), ("page", "Open the card's page")])
def test_a_call_that_one_page_decides_opens_that_page(
    host: ViewHost, results: dict[str, Result], name: str, label: str
) -> None:
    show(host, results, name)
    assert host.inside(BUTTONS)[0] == label
    host.press("open")
    host.until("document.getElementById('live').textContent === 'Opened in your browser.'")
    assert [one["params"]["url"] for one in host.sent("ui/open-link")] == [body(results[name])["page"]]


def test_without_a_link_it_is_said_where_to_decide(host: ViewHost, results: dict[str, Result]) -> None:
    show(host, results, "status")
    for said in ("Issue a virtual card", "Create a card", "Reveal a card", "machines-mcp approve", "machines-mcp desk"):
        assert said in host.text()
    assert host.inside(BUTTONS) == ["Check again"]
    waiting = body(results["required"])
    nowhere = {name: value for name, value in waiting.items() if name != "desk"}
    for where in ("in a terminal on this machine with machines-mcp approve", "nowhere yet: the operator must"):
        host.show(PAGES[CARD], result=error({**nowhere, "where": where}), answers={"status": results["status"]})
        host.until("document.body.innerText.includes('Issue a virtual card')")
        assert where in host.text()
        assert host.inside(BUTTONS) == ["Check again"]


def test_a_host_without_links_or_calls_gets_an_address_and_no_button(
    host: ViewHost, results: dict[str, Result]
) -> None:
    show(host, results, "required", capabilities={})
    assert host.inside("document.querySelectorAll('button').length") == 0
    assert f"decisions/{body(results['required'])['approval_id']}" in host.text()
    assert host.sent("tools/call") == []


def test_a_host_that_refuses_gets_an_address_and_a_sentence(host: ViewHost, results: dict[str, Result]) -> None:
    show(host, results, "required", refuses=["ui/open-link", "tools/call"])
    host.press("open")
    host.until("document.getElementById('hint').textContent.includes('decisions/')")
    host.press("again")
    host.until("document.getElementById('hint').textContent.includes('Ask the assistant')")


@pytest.mark.parametrize(
    "link",
    [
        "javascript:parent.postMessage('owned','*')",
        "https://desk.example/",
        "http://127.0.0.1.example/",
        "http://127.0.0.1@desk.example/",
        "http://ann:b@127.0.0.1/",
        "data:text/html,x",
        "file:///etc/passwd",
        "127.0.0.1",
        7,
        None,
        ["http://127.0.0.1/"],
    ],
)
def test_a_link_to_anywhere_but_this_computer_is_no_button(
    host: ViewHost, results: dict[str, Result], link: object
) -> None:
    waiting = body(results["required"])
    for name in ("desk", "page"):
        given = {key: value for key, value in waiting.items() if key != "desk"} | {name: link}
        host.show(PAGES[APPROVAL], result=error(given), answers={})
        host.until_title("Waiting for a person")
        assert host.inside(BUTTONS) == ["Check again"]


def test_the_identity_check_shows_its_steps_and_the_page_where_the_user_acts(
    host: ViewHost, results: dict[str, Result]
) -> None:
    state = "[...document.querySelectorAll('.steps li')].map((one) => one.className)"
    for name, steps in (
        ("verify", ["done", "now", ""]),
        ("denied", ["done", "done", "failed"]),
        ("passed", ["done"] * 3),
    ):
        show(host, results, name, input={"user_id": USER}, tool="get_kyc_status")
        assert host.inside(state) == steps
        assert body(results[name])["meaning"] in host.text() or name == "passed"
    show(host, results, "verify", input={"user_id": USER}, answers={"get_kyc_status": results["passed"]})
    host.press("open")
    host.press("again")
    host.until("document.querySelectorAll('.steps .done').length === 3")
    assert host.sent("ui/open-link")[0]["params"]["url"] == body(results["verify"])["verification_link"]
    assert host.sent("tools/call")[0]["params"] == {"name": "get_kyc_status", "arguments": {"user_id": USER}}
    for link, buttons in (
        ("https://id.example/x", ["Continue the check", "Check again"]),
        ("ftp://x/", ["Check again"]),
    ):
        host.result(success(body(results["verify"]) | {"verification_link": link}))
        host.until(f"JSON.stringify({BUTTONS}) === {json.dumps(json.dumps(buttons, separators=(',', ':')))}")
    host.result(success(body(results["verify"]) | {"status": "constructor"}))
    host.until("document.querySelector('.pill.wait')?.textContent === 'unrecognized'")


def test_a_card_is_shown_by_its_last_digits_and_read_again(host: ViewHost, results: dict[str, Result]) -> None:
    card = body(results["locked"])
    show(host, results, "locked", input={"user_id": USER}, tool="get_card", answers={"get_card": results["card"]})
    for said in (
        f"•••• {card['last4']}",
        "locked",
        "$150.00 per 30 days",
        "Groceries",
        "from the agent",
        "never shown here",
    ):
        assert said in host.text()
    host.press("again")
    host.until("document.querySelector('.face .state').textContent === 'active'")
    (again,) = host.sent("tools/call")
    assert again["params"] == {"name": "get_card", "arguments": {"user_id": USER, "card_id": card["card_id"]}}
    show(host, results, "cards", input={"user_id": USER}, tool="list_cards")
    for listed in body(results["cards"])["cards"]:
        assert listed["last4"] in host.text()
    assert host.inside(HEADLINES) == [f"Card ending {listed['last4']}" for listed in body(results["cards"])["cards"]]
    revealed = {**card, "status": "verified", "shown": "nowhere"}
    host.result(success(revealed))
    host.until("document.querySelector('.face .state')?.textContent === 'can be shown'")


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("Card ending 4242", "“Card ending 4242”"),
        ("Machines Cash” (from Machines)", "“Machines Cash' (from Machines)”"),
        ("Food \u030b\ua78b x", "“Food ' x”"),
        ("Cafe\u0301 \u0439\u0301 1", "“Cafe\u0301 \u0439\u0301 1”"),
    ],
)
def test_a_label_is_quoted_below_the_cards_name_and_has_its_author(
    host: ViewHost, results: dict[str, Result], label: str, shown: str
) -> None:
    card = body(results["card"]) | {"label": label, "label_from": "agent"}
    show(host, results, "cards", input={"user_id": USER}, tool="list_cards")
    host.result(success({"cards": [card]}))
    host.until_title("1 card")
    assert host.inside(HEADLINES) == [f"Card ending {card['last4']}"]
    assert host.inside(LABELS) == [f"{shown} from the agent"]
    host.result(success(card))
    host.until_title(f"Card ending {card['last4']}")
    assert host.inside("document.querySelector('.face .label').textContent") == "Machines Cash"
    assert host.inside(LABELS) == [f"{shown} from the agent"] * 2
    assert host.text().count(label) == (2 if label in shown else 0)


@pytest.mark.parametrize("uri", PAGES)
def test_hostile_results_inject_nothing_and_break_nothing(
    host: ViewHost, page: Tab, results: dict[str, Result], uri: str
) -> None:
    rng = random.Random(20261130)  # noqa: S311 - repeatable values, no secret
    known = [body(result) for result in results.values()]
    host.show(PAGES[uri], result=results["nothing"], answers={})
    host.until_title("Nothing waits for approval")
    page.watch_console()
    elements = "[...new Set([...document.querySelectorAll('*')].map((one) => one.localName))]"
    count = "document.querySelectorAll('script, style, meta').length"
    before = host.inside(count)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "p",
        "svg",
        "rect",
        "path",
        "main",
        "h1",
        "h2",
    }
    allowed |= {"div", "span", "script", "bdi", "code", "ul", "ol", "li", "dl", "dt", "dd", "small", "button"}
    for _ in range(60):
        hostile = damaged(rng, rng.choice(known))
        host.result(rng.choice([success, error])(hostile) if rng.random() < 0.9 else hostile)
        assert set(host.inside(elements)) <= allowed
    assert host.inside(count) == before
    assert (
        host.inside(
            "[...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())"
            ".filter((name) => name.startsWith('on') || ['src', 'href'].includes(name))"
        )
        == []
    )
    host.result(results["closed" if uri == CARD else "passed"])
    host.until_title("The card is closed" if uri == CARD else "Identity check")
    assert (host.sent("ui/open-link"), page.console) == ([], [])
    assert "owned" not in page.evaluate("JSON.stringify(window.log)")


def damaged(rng: random.Random, value: Any) -> Any:
    """Return JSON in which some values have another type, markup, or a size that nobody expects."""
    if rng.random() < 0.12:
        return rng.choice(
            [None, True, -1, 1e308, [], {}, MARKUP, MARKUP * 200, [MARKUP] * 90, {"a": {"b": []}}, "\u202e"]
        )
    if isinstance(value, dict):
        return {MARKUP if rng.random() < 0.02 else name: damaged(rng, part) for name, part in value.items()}
    if isinstance(value, list):
        return [damaged(rng, part) for part in value]
    return f"{value}{MARKUP}" if isinstance(value, str) and rng.random() < 0.3 else value


@pytest.mark.parametrize(
    "message",
    [
        "text",
        7,
        None,
        [],
        {"method": "ui/notifications/tool-result", "params": 7},
        {"jsonrpc": "1.0", "method": "ui/notifications/tool-result"},
        {"jsonrpc": "2.0", "method": 7},
        {"jsonrpc": "2.0", "method": "constructor", "params": {}},
        {"jsonrpc": "2.0", "method": "ui/notifications/unknown", "params": {}},
        {"jsonrpc": "2.0", "id": 999, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
    ],
    ids=str,
)
def test_messages_that_are_not_the_protocols_are_ignored(
    host: ViewHost, page: Tab, results: dict[str, Result], message: object
) -> None:
    show(host, results, "cards")
    page.watch_console()
    before = host.text()
    page.evaluate(f"window.toView({json.dumps(message)})")
    host.send({"id": "p", "method": "ping"})
    page.until("window.log.some((message) => message.id === 'p' && message.result)")
    assert (host.text(), page.console) == (before, [])


def test_messages_of_other_windows_are_ignored(host: ViewHost, page: Tab, results: dict[str, Result]) -> None:
    show(host, results, "cards")
    before = host.text()
    forged = {"jsonrpc": "2.0", "method": "ui/notifications/tool-result", "params": results["closed"]}
    # The host's page is the view's grandparent, and the view itself is no host, either.
    page.evaluate(f"document.querySelector('iframe').contentWindow.frames[0].postMessage({json.dumps(forged)}, '*')")
    host.inside(f"window.postMessage({json.dumps(forged)}, '*')")
    host.send({"id": "p", "method": "ping"})
    page.until("window.log.some((message) => message.id === 'p' && message.result)")
    assert host.text() == before
    host.send({"id": "q", "method": "sampling/createMessage", "params": {}})
    page.until("window.log.some((message) => message.id === 'q' && message.error.code === -32601)")


def test_the_host_hears_the_size_and_an_end_after_which_nothing_follows(
    host: ViewHost, page: Tab, results: dict[str, Result]
) -> None:
    tall = "Math.ceil(document.body.getBoundingClientRect().height)"
    heights: list[int] = []
    for name in ("status", "agreed"):
        host.result(results[name]) if heights else show(host, results, name)
        host.until_title(SCENES[name][2])
        heights.append(host.inside(tall))
        page.until(f"window.sent('ui/notifications/size-changed').at(-1)?.params.height === {heights[-1]}")
    assert heights[1] < heights[0]
    host.send({"method": "ui/notifications/tool-cancelled", "params": {"reason": MARKUP}})
    host.until_title("The call was cancelled")
    assert "img" not in host.text()
    host.send({"id": "end", "method": "ui/resource-teardown", "params": {"reason": "gone"}})
    page.until("window.log.some((message) => message.id === 'end' && message.result)")
    count = page.evaluate("window.log.length")
    host.result(results["status"])
    host.send({"id": "after", "method": "ping"})
    assert host.inside("new Promise((done) => setTimeout(done, 50, document.getElementById('title').textContent))") == (
        "The call was cancelled"
    )
    assert page.evaluate("window.log.length") == count


def test_the_scheme_is_the_hosts_and_can_change(host: ViewHost, results: dict[str, Result]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    show(host, results, "status", theme="dark")
    assert host.inside(ground) == "rgb(26, 29, 34)"
    host.send({"method": "ui/notifications/host-context-changed", "params": {"theme": "light"}})
    host.until(f"{ground} === 'rgb(255, 255, 255)'")
    host.send({"method": "ui/notifications/host-context-changed", "params": {"theme": MARKUP}})
    host.send({"id": "p", "method": "ping"})
    host.page.until("window.log.some((message) => message.id === 'p')")
    assert host.inside(ground) == "rgb(255, 255, 255)"
    assert host.inside("document.documentElement.dataset.theme") == "light"
    host.send({"method": "ui/notifications/host-context-changed", "params": {"theme": "dark"}})
    host.until(f"{ground} === 'rgb(26, 29, 34)'")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [280, 720])
def test_every_scene_is_readable_and_fits(host: ViewHost, results: dict[str, Result], width: int, theme: str) -> None:
    for name in SCENES:
        show(host, results, name, width=width, theme=theme)
        assert host.inside("document.documentElement.scrollWidth") <= width, name
        ratio, whose = host.inside(CONTRAST)
        assert ratio >= 4.5, (name, whose)


def test_the_buttons_work_by_keyboard_and_keep_the_focus(host: ViewHost, page: Tab, results: dict[str, Result]) -> None:
    show(host, results, "required")
    host.until("document.body.innerText.includes('Issue a virtual card')")
    focused = "document.activeElement.dataset.key ?? document.activeElement.localName"
    page.press("Tab", 9)
    assert host.inside(focused) == "open"
    page.press("Enter", 13, "\r")
    host.until("document.getElementById('live').textContent === 'Opened in your browser.'")
    page.press("Tab", 9)
    assert host.inside(focused) == "again"
    calls = len(host.sent("tools/call"))
    page.press(" ", 32, " ")
    page.until(f"window.sent('tools/call').length > {calls}")
    host.until("document.querySelector('[data-key=again]').getAttribute('aria-disabled') === null")
    assert host.inside(focused) == "again"


def test_axe_finds_nothing(
    host: ViewHost, results: dict[str, Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    axe = axe_source(tmp_path_factory.mktemp("axe"))
    run = (
        "axe.run(document, {resultTypes: ['violations']}).then((found) => ({count: found.passes.length,"
        " bad: found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)])}))"
    )
    for name in SCENES:
        show(host, results, name)
        host.inside(f"{axe}; null")
        judged = host.inside(run)
        assert judged["count"] > 12
        assert judged["bad"] == [], name


def test_a_view_requests_nothing(hosted: tuple[ViewHost, list[str]], results: dict[str, Result]) -> None:
    host, asked = hosted
    for name in ("required", "card"):
        show(host, results, name)
        assert host.inside("performance.getEntriesByType('resource').length") == 0
    assert {path.split("?")[0] for path in asked} <= {"/", "/favicon.ico"}


def success(value: Any) -> Result:
    """Return a result with this object."""
    return {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": value}


def error(value: Any) -> Result:
    """Return an error result with this object."""
    return {"content": [{"type": "text", "text": json.dumps(value)}], "isError": True}
