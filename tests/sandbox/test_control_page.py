"""The control page: shows the state, and its plain forms trigger events from this page only."""

from __future__ import annotations

import re
import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import unquote_plus, urlencode

import httpx
import pytest

from machines_mcp.sandbox import control_page, control_rows, withdrawals
from machines_mcp.sandbox.card_numbers import new_number
from machines_mcp.sandbox.control_page import FORM, read_form
from tests.sandbox.test_pages import Outline
from tests.support.sandbox_caller import KYC_SCOPES, SandboxClient, User, kyc_form

HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def board(own_sandbox: SandboxClient) -> Iterator[SandboxClient]:
    own_sandbox.control("/reset", {})
    yield own_sandbox
    own_sandbox.control("/reset", {})


def get_page(board: SandboxClient) -> str:
    response = board.raw("GET", "/control", headers=HTML)
    assert response.status_code == 200
    return response.text


def press(board: SandboxClient, action: str, *, origin: str | None = None, **fields: str) -> httpx.Response:
    headers = {"Origin": origin or board.sandbox.origin, "Content-Type": FORM} | HTML
    return board.raw("POST", f"/control/{action}", content=urlencode(fields), headers=headers)


def waiting_user(board: SandboxClient) -> str:
    user_id = board.new_user()
    board.call("POST", "/kyc/applications", kyc_form(lastName="Smith"), token=board.session(user_id, *KYC_SCOPES))
    return user_id


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_program_gets_json(board: SandboxClient, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    assert board.raw("GET", "/control", headers=headers).json()["data"]["users"] == []


def test_page_shows_users_cards_deposits_and_pending_reviews(board: SandboxClient) -> None:
    empty = get_page(board)
    assert "No users yet" in empty
    user: User = board.funded_user(12)
    assert "Nobody is waiting." in get_page(board)
    card_id, waiting = user.new_card(), waiting_user(board)
    user.call("POST", "/deposits", {"currency": "xrp", "network": "ripple", "amount": 50})
    page = get_page(board)
    assert "Nobody is waiting." not in page
    for text in (user.user_id, waiting, card_id, "$12.00 to spend", "Approve KYC", "Post a spend"):
        assert text in page


def listed(page: str) -> list[str]:
    """Return the text of each row, without its forms."""
    rows = re.findall(r"<li>(.*?)</li>", page, re.DOTALL)
    return [" | ".join(re.findall(r">([^<>]+)<", re.sub(r"<form.*?</form>", "", row))) for row in rows]


def labelled_card(user: User, label: str, **more: Any) -> Any:
    name = user.call("POST", "/encryption/encrypt", {"value": label}).data["value"]
    return user.call("POST", "/cards", {"encryptedName": name, **more}).data


def test_rows_say_whose_how_much_what_and_in_which_state(board: SandboxClient) -> None:
    user: User = board.funded_user(1234.50)
    limit = {"amountCents": 250_000, "frequency": "per30DayPeriod"}
    limited, plain = labelled_card(user, "Ads <b>& more", limit=limit), user.new_card()
    user.call("PATCH", f"/cards/{limited['cardId']}", {"status": "locked"})
    user.call("POST", "/deposits", {"currency": "xrp", "network": "ripple", "amount": 50})
    address = "0x" + "2b" * 20
    order = {"amountCents": 123_400, "destination": {"currency": "usdc", "network": "polygon", "address": address}}
    user.call("POST", "/withdrawals", order)
    last4 = board.control("")["users"][0]["cards"][0]["last4"]
    who, found = user.user_id, listed(get_page(board))
    assert found == [
        f"{who} | $0.50 to spend · Agreements accepted | KYC approved",
        f"Card ending in {last4} | {who} · No limit | active",
        f"Ads &lt;b&gt;&amp; more, card ending in {limited['last4']} | {who} · $2,500.00 per 30 days | locked",
        f"$99.00 | {who} · XRP on XRP Ledger Testnet | pending",
        f"$1,234.50 | {who} · rUSD on Base Sepolia | completed",
        f"$1,234.00 | {who} · USDC on Polygon Amoy | {address} | pending",
    ]
    assert plain not in limited["cardId"]
    user.call("POST", "/withdrawals", order)
    assert "USDC on Polygon Amoy · valid for 30 minutes | " in listed(get_page(board))[-1]
    assert listed(get_page(board))[-1].endswith("signature ready")
    press(board, "withdrawals", userId=who)
    assert listed(get_page(board))[-1].endswith("executed")


def test_withdrawal_of_an_older_file_has_no_destination(board: SandboxClient) -> None:
    row = {"answer": None, "held_until": 5.0, "withdrawal_id": "a", "amount_cents": 100} | dict.fromkeys(
        ("currency", "network", "address")
    )
    outline = withdrawals.outline(cast(sqlite3.Row, row), 10.0)
    assert control_rows.withdrawal(outline, "somebody", 0).count("<code>") == 0


def test_page_never_shows_a_card_number(board: SandboxClient) -> None:
    user: User = board.funded_user(5)
    number = new_number()
    spaced = "-".join(number[at : at + 4] for at in range(0, 16, 4))
    labelled_card(user, f"Number {number}")
    labelled_card(user, f"Number {spaced}, {'long ' * 30}")
    foreign = {"v": 1, "iv": "A" * 16, "ct": "A" * 40}
    user.call("POST", "/cards", {"encryptedName": foreign})
    summary, page = board.raw("GET", "/control").text, get_page(board)
    assert [card["label"] for card in board.control("")["users"][0]["cards"]] == [
        None,
        f"Number …, {'long ' * 9}long…",
        "Number …",
    ]
    for secret in (number, spaced, number[4:12]):
        assert secret not in summary + page


@pytest.mark.parametrize(
    ("amount", "cents"), [("5", 500), ("1,234.5", 123_450), ("$0.07", 7), ("$ 12.30", 1230), ("1234567", 123_456_700)]
)
def test_amount_is_read_in_dollars(amount: str, cents: int) -> None:
    assert read_form(urlencode({"amount": amount}).encode()).values["amountCents"] == cents


@pytest.mark.parametrize("amount", ["five", "1.234", "1,23", "-1", "٣", "1e3", "1234567890", "."])
def test_amount_that_is_no_sum_in_dollars_is_refused(board: SandboxClient, amount: str) -> None:
    card_id = board.funded_user(5).new_card()
    response = press(board, "spend", cardId=card_id, amount=amount)
    assert response.status_code == 400
    assert "Nothing changed: amount: must be in dollars, such as 12.50" in response.text


def test_page_says_what_the_action_led_to(board: SandboxClient) -> None:
    card_id = board.funded_user(5).new_card()
    for amount, said in (("3", "The spend is approved."), ("3", "The spend is declined.")):
        response = press(board, "spend", cardId=card_id, amount=amount)
        page = board.raw("GET", response.headers["location"], headers=HTML).text
        assert f'role="status">{said}</p>' in page
    for done in ("<b>paid", "nothing"):
        assert 'role="status"' not in board.raw("GET", f"/control?{urlencode({'done': done})}", headers=HTML).text


def test_every_button_triggers_its_event(board: SandboxClient) -> None:
    waiting, user = waiting_user(board), board.funded_user(100)
    card_id = user.new_card()
    deposit = user.call("POST", "/deposits", {"currency": "xrp", "network": "ripple", "amount": 50}).data["deposit"]
    order = {"amountCents": 1000, "destination": {"currency": "rusd", "network": "base", "address": "0x" + "2b" * 20}}
    for _ in range(2):
        user.call("POST", "/withdrawals", order)
    assert "Execute withdrawal" in get_page(board)
    orders: list[tuple[str, dict[str, str]]] = [
        ("kyc", {"userId": waiting, "decision": "approved"}),
        ("deposits", {"depositId": deposit["id"]}),
        ("spend", {"cardId": card_id, "amountCents": "500"}),
        ("withdrawals", {"userId": user.user_id}),
        ("clock", {"advanceSeconds": "10"}),
        (
            "faults",
            {"method": "", "path": "/cards", "kind": "drop", "status": "503", "delaySeconds": "2", "calls": "2"},
        ),
        ("rate", {"calls": "7"}),
        ("provisioning", {"slow": "true"}),
        ("keys", {"honoured": "false"}),
        ("salts", {"form": "bytes"}),
    ]
    for action, fields in orders:
        response = press(board, action, **fields)
        place, _, done = response.headers["location"].partition("?done=")
        assert (response.status_code, place) == (303, "/control"), action
        assert unquote_plus(done) in control_page.SAID, action
    shown = board.control("")
    statuses = {entry["userId"]: entry["kycStatus"] for entry in shown["users"]}
    assert statuses[waiting] == "approved"
    (fault,) = shown["faults"]
    assert (fault["kind"], fault["path"], fault["calls"]) == ("drop", "/cards", 2)
    assert (shown["rateLimit"], shown["slowProvisioning"]) == ({"calls": 7, "windowSeconds": 60}, True)
    assert (shown["keysHonoured"], shown["saltForm"]) == (False, "bytes")
    (seen,) = (entry for entry in shown["users"] if entry["userId"] == user.user_id)
    assert (seen["spendingPower"], [one["completed"] for one in seen["deposits"]]) == (
        100_00 - 500 - 1000 + 99_00,
        [True] * 2,
    )
    assert user.call("GET", "/transactions").data["transactions"][0]["amountCents"] == -1000
    assert "Disarm all" in get_page(board)
    assert press(board, "faults/clear").status_code == 303
    assert board.control("/faults")["faults"] == []
    assert press(board, "reset").status_code == 303
    assert board.control("")["users"] == []


def test_invalid_input_is_reported_on_the_page(board: SandboxClient) -> None:
    response = press(board, "faults", path="cards", kind="drop", calls="1")
    assert response.status_code == 400
    assert "Nothing changed: path: must match the documented pattern" in response.text
    assert press(board, "clock", advanceSeconds="soon").status_code == 400
    assert press(board, "clock").status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {},
    ],
)
def test_form_of_another_page_is_refused(board: SandboxClient, headers: dict[str, str]) -> None:
    user_id = waiting_user(board)
    data = {"userId": user_id, "decision": "approved"}
    assert board.raw("POST", "/control/kyc", data=data, headers=headers).status_code == 403
    assert board.control("")["users"][0]["kycStatus"] == "needs_verification"


def test_partner_supplied_names_are_shown_as_text(board: SandboxClient) -> None:
    board.session("<script>alert(1)</script>\"'&", "kyc.read")
    page = get_page(board)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_page_has_no_scripts_or_requests_and_labels_every_field(board: SandboxClient) -> None:
    board.funded_user(5).new_card()
    waiting_user(board)
    response = board.raw("GET", "/control", headers=HTML)
    policy = response.headers["content-security-policy"]
    for rule in ("default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert response.headers["cache-control"] == "no-store"
    assert not re.search(r"<script|<img|<link|style=|https?://|\son[a-z]+=", response.text)
    outline = Outline(response.text)
    assert len(outline.all("h1")) == len(outline.all("main")) == 1
    fields: list[Any] = [field for field in outline.all("input") if field.get("type") != "hidden"] + outline.all(
        "select"
    )
    assert len(fields) == len(outline.all("label"))
    assert all(form["method"] == "post" and str(form["action"]).startswith("/control/") for form in outline.all("form"))
    identifiers = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def others(page: str) -> list[dict[str, str | None]]:
    """Return the links to other pages of users."""
    return [link for link in Outline(page).all("a") if link.get("class") != "button"]


def many_users(board: SandboxClient, count: int) -> list[str]:
    """Create this many users and return them oldest first."""
    ids = [f"{board.new_user()}-end" for _ in range(count)]
    for user_id in ids:
        board.session(user_id, "kyc.read")
    return ids


def test_program_gets_the_newest_users_and_a_cursor(board: SandboxClient) -> None:
    ids, seen, left_off, cursor = many_users(board, 7), [], [], None
    for _ in range(3):
        params = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        data = board.raw("GET", "/control", params=params).json()["data"]
        seen += [user["userId"] for user in data["users"]]
        left_off.append(data["leftOff"])
        cursor = data.get("nextCursor")
    assert (seen, left_off, cursor) == (ids[::-1], [4, 1, 0], None)


def test_summary_lists_the_newest_cards_and_deposits_and_counts_the_rest(board: SandboxClient) -> None:
    user = board.funded_user(10)
    made = [user.new_card() for _ in range(3)]
    user.call("POST", "/deposits", {"currency": "xrp", "network": "ripple", "amount": 50})
    (seen,) = board.raw("GET", "/control", params={"limit": "1"}).json()["data"]["users"]
    assert [card["cardId"] for card in seen["cards"]] == made[-1:]
    assert [deposit["completed"] for deposit in seen["deposits"]] == [False]
    assert seen["leftOff"] == {"cards": 2, "deposits": 1, "withdrawals": 0}
    page = board.raw("GET", "/control", params={"limit": "1"}, headers=HTML).text
    assert "Not shown for these users: 2 more" in page
    assert "Not shown for these users: 1 more" in page
    assert "Not shown" not in get_page(board)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(({"limit": limit}, "limit") for limit in ("0", "201", "x")),
        *(
            ({"cursor": urlsafe_b64encode(text).decode()}, "cursor")
            for text in (b"nan x", b"inf x", b"5", b"", b"\xff")
        ),
        ({"cursor": "not base64!"}, "cursor"),
    ],
)
def test_invalid_page_query_is_rejected_by_field(board: SandboxClient, query: dict[str, str], field: str) -> None:
    response = board.raw("GET", "/control", params=query)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, field)


def test_page_shows_the_newest_users_and_links_to_the_rest(board: SandboxClient) -> None:
    waiting = waiting_user(board)
    ids = many_users(board, 60)
    first = get_page(board)
    assert [user_id in first for user_id in (ids[-1], ids[10], ids[9], waiting)] == [True, True, False, False]
    assert "Not shown: 11 older" in first
    assert "Nobody on this page is waiting." in first
    assert "newest users" not in first
    (older,) = others(first)
    rest = board.raw("GET", str(older["href"]), headers=HTML).text
    assert [user_id in rest for user_id in (ids[10], ids[9], ids[0], waiting)] == [False, True, True, True]
    assert "Not shown" not in rest
    (newest,) = others(rest)
    assert newest["href"] == "/control"


def test_link_to_the_next_page_keeps_the_page_size(board: SandboxClient) -> None:
    ids = many_users(board, 3)
    response = board.raw("GET", "/control", params={"limit": "1"}, headers=HTML)
    (older,) = others(response.text)
    rest = board.raw("GET", str(older["href"]), headers=HTML).text
    assert [user_id in rest for user_id in ids] == [False, True, False]


@pytest.mark.parametrize(("kind", "delay"), [("delay", 2), ("drop", 0)])
def test_delay_field_applies_only_to_a_delay(board: SandboxClient, kind: str, delay: int) -> None:
    assert press(board, "faults", path="/cards", kind=kind, delaySeconds="2", calls="1").status_code == 303
    assert [fault["delaySeconds"] for fault in board.control("/faults")["faults"]] == [delay]
