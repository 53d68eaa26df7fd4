"""The control page: users, applications waiting for a decision, and a form for each action of the control."""

from __future__ import annotations

import re
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

from machines_mcp.sandbox import control_rows
from machines_mcp.sandbox.control_rows import dollars, duration, form, rows
from machines_mcp.sandbox.faults import KINDS
from machines_mcp.sandbox.fields import Fields
from machines_mcp.sandbox.html_page import fill, page, template
from machines_mcp.sandbox.summary import summary
from machines_mcp.sandbox.switches import SALT_FORMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from machines_mcp.sandbox.state import State

# How many cards, deposits and withdrawals the page shows at most of each.
MAX_ROWS: Final = 50
FORM: Final = "application/x-www-form-urlencoded"
_BOARD, _EMPTY, _LISTS = template("board"), template("empty"), template("lists")
_NOBODY_HERE: Final = "Nobody on this page is waiting."
# The query of the first page.
_NEWEST: Final = Fields({})
_UNDECIDED: Final = ("pending", "manual_review", "needs_information", "needs_verification")
_NUMBERS: Final = frozenset({"advanceSeconds", "calls", "status", "delaySeconds", "windowSeconds", "amountCents"})
_FLAGS: Final = {"true": True, "false": False}
_DOLLARS: Final = re.compile(r"\$? ?(\d{1,3}(?:,\d{3})+|\d{1,9})(?:\.(\d{1,2}))?", re.ASCII)
# The result of an action as the page says it, by the summary of its response. The address of the page names it.
SAID: Final = {
    "kyc decided": "The identity check is decided.",
    "deposit completed": "The deposit is completed.",
    "withdrawal executed": "The withdrawal is executed.",
    "spend approved": "The spend is approved.",
    "spend declined": "The spend is declined.",
    "clock advanced": "The clock is moved.",
    "fault armed": "The fault is armed.",
    "faults cleared": "All faults are disarmed.",
    "rate limit set": "The rate limit is set.",
    "provisioning set": "Provisioning is set.",
    "keys set": "The handling of idempotency keys is set.",
    "salts set": "The form of salts is set.",
    "text set": "The text is set.",
    "state emptied": "Everything is deleted.",
}


def read_form(raw: bytes) -> Fields:
    """Parse a form of the page. Empty fields are dropped, and so is the delay of any fault but `delay`.

    Raises:
        Refusal: 400, if `amount` is no amount in dollars.
    """
    given = {name: value for name, value in parse_qsl(raw.decode("utf-8", "replace")) if value}
    values: dict[str, object] = dict(given)
    for name in _NUMBERS & values.keys():
        if given[name].isascii() and given[name].isdigit() and len(given[name]) < 16:
            values[name] = int(given[name])
    for name in ("slow", "honoured"):
        if given.get(name) in _FLAGS:
            values[name] = _FLAGS[given[name]]
    if given.get("kind") not in (None, "delay"):
        values.pop("delaySeconds", None)
    if "amount" in given:
        values["amountCents"] = _cents(given["amount"].strip())
    return Fields(values)


def _cents(text: str) -> int:
    found = _DOLLARS.fullmatch(text)
    if found is None:
        Fields({}).refuse("amount", "must be in dollars, such as 12.50")
    whole, part = found.groups()
    return int(whole.replace(",", "")) * 100 + int((part or "0").ljust(2, "0"))


def show(state: State, said: str = "", status: int = 200, query: Fields = _NEWEST) -> Response:
    """Render the page. `said` is why the last action was refused, in the sandbox's own words.

    `query` has the summary's `limit` and `cursor`, which select the users shown. `done` is the last action's result.
    """
    data = summary(state, query).data
    rate, slow, honoured = data["rateLimit"], data["slowProvisioning"], data["keysHonoured"]
    now = datetime.fromisoformat(data["now"])
    words = {
        "now": f"{now.day} {now:%b %Y, %H:%M:%S} UTC",
        "ahead": f"{duration(ahead)} ahead of real time" if (ahead := data["clockAheadSeconds"]) else "Real time",
        "rate": str(rate["calls"] if rate else 0),
        "provisioning": "They fail until the contract exists." if slow else "Their contract already exists.",
        "slower": "false" if slow else "true",
        "slow_label": "Provision contracts at once" if slow else "Delay provisioning",
        "keys": "Requests with the same key are executed once." if honoured else "Keys are ignored.",
        "honour": "false" if honoured else "true",
        "honour_label": "Ignore keys" if honoured else "Honor keys",
    }
    content = fill(
        _BOARD,
        words,
        said=_said(said, query),
        lists=_lists(data, query),
        disarm=form("faults/clear", "Disarm all: faults") if data["faults"] else "",
        faults=rows([control_rows.fault(fault) for fault in data["faults"]], "No faults are armed."),
        # A patch is a list of operations, which a form can't hold.
        kinds="".join(
            f'<option value="{kind}">{escape(kind.replace("_", " "))}</option>' for kind in KINDS if kind != "patch"
        ),
        salts="".join(f"<option{' selected' * (form == data['saltForm'])}>{form}</option>" for form in SALT_FORMS),
    )
    return page("Control", content, status, wide=True)


def _said(refused: str, query: Fields) -> str:
    done = query.values.get("done")
    text = refused or (SAID.get(done, "") if isinstance(done, str) else "")
    tone = " bad" if refused or done == "spend declined" else ""
    return f'<p class="said{tone}" role="status">{escape(text)}</p>' if text else ""


def _lists(data: Mapping[str, Any], query: Fields) -> str:
    """Render the users of this page and what they have."""
    users: list[dict[str, Any]] = data["users"]
    if not users:
        return fill(_EMPTY, {}) + _older(data, query)
    cards = [control_rows.card(card, user["userId"]) for user in users for card in user["cards"]]
    deposits = [control_rows.deposit(one, user["userId"]) for user in users for one in user["deposits"]]
    payouts = [
        control_rows.withdrawal(one, user["userId"], user["withdrawals"]["signatureSecondsLeft"])
        for user in users
        for one in user["withdrawals"]["newest"]
    ]
    waiting = [user for user in users if user["kycStatus"] in _UNDECIDED]
    paged = query.has("cursor") or data["leftOff"]
    left_off = {name: sum(user["leftOff"][name] for user in users) for name in ("cards", "deposits", "withdrawals")}
    return fill(
        _LISTS,
        {"spendable": dollars(sum(user["spendingPower"] for user in users))},
        waiting=rows([control_rows.waiting(user) for user in waiting], _NOBODY_HERE if paged else "Nobody is waiting."),
        users=rows([control_rows.user(user) for user in users], "No users yet."),
        older=_older(data, query),
        cards=rows(cards[:MAX_ROWS], "No cards yet."),
        more_cards=_left_off(len(cards[MAX_ROWS:]) + left_off["cards"]),
        deposits=rows(deposits[:MAX_ROWS], "No deposits yet."),
        more_deposits=_left_off(len(deposits[MAX_ROWS:]) + left_off["deposits"]),
        withdrawals=rows(payouts[:MAX_ROWS], "No withdrawals yet."),
        more_withdrawals=_left_off(len(payouts[MAX_ROWS:]) + left_off["withdrawals"]),
    )


def _left_off(count: int) -> str:
    """Render how many rows of these users are not shown."""
    return f'<p class="hint">Not shown for these users: {count:,} more.</p>' if count else ""


def _older(data: Mapping[str, Any], query: Fields) -> str:
    """Render the links to older users and back to the newest."""
    parts = []
    if data["leftOff"]:
        kept = {"limit": query.values["limit"]} if query.has("limit") else {}
        words = urlencode(kept | {"cursor": data["nextCursor"]})
        parts.append(f'Not shown: {data["leftOff"]:,} older. <a href="/control?{escape(words)}">Show older users</a>')
    if query.has("cursor"):
        parts.append('<a href="/control">Show the newest users</a>')
    return "".join(f'<p class="hint">{part}</p>' for part in parts)
