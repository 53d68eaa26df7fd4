"""The control page: users, applications waiting for a decision, and a form for each action of the control."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

from machines_mcp.sandbox import kyc
from machines_mcp.sandbox.control import summary
from machines_mcp.sandbox.faults import KINDS
from machines_mcp.sandbox.fields import Fields
from machines_mcp.sandbox.html_page import fill, page, template
from machines_mcp.sandbox.switches import SALT_FORMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from machines_mcp.sandbox.state import State

# How many cards, and how many deposits, the page shows at most.
MAX_ROWS: Final = 50
FORM: Final = "application/x-www-form-urlencoded"
_BOARD: Final = template("board")
_NOBODY_HERE: Final = "Nobody on this page is waiting."
# The query of the first page.
_NEWEST: Final = Fields({})
_UNDECIDED: Final = ("pending", "manual_review", "needs_information", "needs_verification")
_NUMBERS: Final = frozenset({"advanceSeconds", "calls", "status", "delaySeconds", "windowSeconds", "amountCents"})
_FLAGS: Final = {"true": True, "false": False}


def read_form(raw: bytes) -> Fields:
    """Parse a form of the page. Empty fields are dropped, and so is the delay of any fault but `delay`."""
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
    return Fields(values)


def show(state: State, said: str = "", status: int = 200, query: Fields = _NEWEST) -> Response:
    """Render the page. `said` is the result of the last action, in the sandbox's own words.

    `query` has the summary's `limit` and `cursor`, which select the users shown.
    """
    data = summary(state, query).data
    users: list[dict[str, Any]] = data["users"]
    cards = [card for user in users for card in user["cards"]]
    deposits = [deposit for user in users for deposit in user["deposits"]]
    waiting = [user for user in users if user["kycStatus"] in _UNDECIDED]
    paged = query.has("cursor") or data["leftOff"]
    rate, slow, honoured = data["rateLimit"], data["slowProvisioning"], data["keysHonoured"]
    words = {
        "now": data["now"],
        "ahead": f"{data['clockAheadSeconds']:,.0f} s",
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
        said=f'<p class="said" role="status">{escape(said)}</p>' if said else "",
        waiting=_rows([_waiting(user) for user in waiting], _NOBODY_HERE if paged else "Nobody is waiting."),
        users=_rows([_user(user) for user in users], "No users yet."),
        older=_older(data, query),
        cards=_rows([_card(card) for card in cards[:MAX_ROWS]], "No cards yet."),
        more_cards=_left_off(len(cards[MAX_ROWS:]) + sum(user["leftOff"]["cards"] for user in users)),
        deposits=_rows([_deposit(deposit) for deposit in deposits[:MAX_ROWS]], "No deposits yet."),
        more_deposits=_left_off(len(deposits[MAX_ROWS:]) + sum(user["leftOff"]["deposits"] for user in users)),
        disarm=_form("faults/clear", "Disarm all: faults") if data["faults"] else "",
        faults=_rows([_fault(fault) for fault in data["faults"]], "None."),
        # A patch is a list of operations, which a form can't hold.
        kinds="".join(
            f'<option value="{kind}">{escape(kind.replace("_", " "))}</option>' for kind in KINDS if kind != "patch"
        ),
        salts="".join(f"<option{' selected' * (form == data['saltForm'])}>{form}</option>" for form in SALT_FORMS),
    )
    return page("Control", content, status, wide=True)


def _rows(rows: list[str], none: str) -> str:
    return f'<ul class="rows">{"".join(rows)}</ul>' if rows else f'<p class="hint">{none}</p>'


def _left_off(count: int) -> str:
    """Render how many cards or deposits of these users are not shown."""
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


def _row(what: str, about: str, forms: str = "") -> str:
    return f'<li><div class="what"><strong>{escape(what)}</strong><small>{escape(about)}</small></div>{forms}</li>'


def _form(action: str, label: str, inner: str = "", **hidden: str) -> str:
    """Render a form with one button. Screen readers read all of `label`; the button shows it up to the colon."""
    kept = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in hidden.items())
    text, _, more = label.partition(": ")
    button = f'<button aria-label="{escape(f"{text}: {more}")}">{escape(text)}</button>'
    return f'<form method="post" action="/control/{action}">{kept}{inner}{button}</form>'


def _waiting(user: dict[str, Any]) -> str:
    name = user["userId"]
    forms = _form("kyc", f"Approve KYC: {name}", userId=name, decision="approved")
    others = sorted(kyc.DECISIONS.keys() - {"approved"})
    options = "".join(f'<option value="{status}">{status.replace("_", " ")}</option>' for status in others)
    select = f'<label>Or decide <select name="decision">{options}</select></label>'
    return _row(name, user["kycStatus"].replace("_", " "), forms + _form("kyc", f"Decide: {name}", select, userId=name))


def _user(user: dict[str, Any]) -> str:
    agreed = "agreements accepted" if user["agreementsAccepted"] else "agreements not accepted"
    about = f"KYC {user['kycStatus'].replace('_', ' ')}, {agreed}, {_dollars(user['spendingPower'])} to spend"
    name, left = user["userId"], user["withdrawals"]["signatureSecondsLeft"]
    if not left:
        return _row(name, about)
    about += f", withdrawal signature valid for {left} s"
    return _row(name, about, _form("withdrawals", f"Execute withdrawal: {name}", userId=name))


def _card(card: dict[str, Any]) -> str:
    label = f"ending in {card['last4']}"
    if card["status"] == "canceled":
        return _row(label, "canceled")
    cents = '<label>Cents <input name="amountCents" type="number" min="1" max="1000000" value="500" required></label>'
    form = _form("spend", f"Post a spend: card {label}", cents, cardId=card["cardId"])
    return _row(f"Card {label}", card["status"].replace("_", " "), form)


def _deposit(deposit: dict[str, Any]) -> str:
    if deposit["completed"]:
        return _row(deposit["id"], "completed")
    form = _form("deposits", f"Complete deposit: {deposit['id']}", depositId=deposit["id"])
    return _row(deposit["id"], "in progress", form)


def _fault(fault: dict[str, Any]) -> str:
    about = f"{fault['kind'].replace('_', ' ')}, calls left: {fault['calls']}"
    return _row(f"{fault.get('method', 'any method')} {fault['path']}", about)


def _dollars(cents: int) -> str:
    return f"{cents / 100:,.2f} USD"
