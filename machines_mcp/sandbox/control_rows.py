"""The rows of the control page: whose, how much, what it is and its state, with the actions."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from machines_mcp.sandbox import kyc

_PERIODS: Final = {
    "perAuthorization": "per payment",
    "per24HourPeriod": "per 24 hours",
    "per7DayPeriod": "per 7 days",
    "per30DayPeriod": "per 30 days",
    "perYearPeriod": "per year",
    "allTime": "in total",
}
# The color of each state of an identity check, deposit or withdrawal. States that are not here are plain.
_TONES: Final = {
    **dict.fromkeys(("approved", "completed", "executed"), "good"),
    **dict.fromkeys(("denied", "locked", "canceled", "expired"), "bad"),
    **dict.fromkeys(("pending", "manual_review", "needs_information", "needs_verification"), "wait"),
    **dict.fromkeys(("confirming", "exchanging", "signed"), "wait"),
}
_WITHDRAWALS: Final = {"signed": "signature ready", "expired": "signature expired"}


def rows(items: list[str], none: str) -> str:
    """Render rows, or the sentence `none` if there are none."""
    return f'<ul class="rows sheet">{"".join(items)}</ul>' if items else f'<p class="sheet none">{none}</p>'


def waiting(user: dict[str, Any]) -> str:
    """Render a user whose application waits for a decision."""
    name, status = user["userId"], user["kycStatus"]
    approve = form("kyc", f"Approve KYC: {name}", primary=True, userId=name, decision="approved")
    others = sorted(kyc.DECISIONS.keys() - {"approved"})
    options = "".join(f'<option value="{each}">{_words(each)}</option>' for each in others)
    select = f'<label>Or decide <select name="decision">{options}</select></label>'
    decide = form("kyc", f"Decide: {name}", select, userId=name)
    return _row(name, "Identity check", _pill(_words(status), status), approve + decide)


def user(found: dict[str, Any]) -> str:
    """Render a user with what they can spend."""
    agreed = "Agreements accepted" if found["agreementsAccepted"] else "Agreements not accepted"
    status = found["kycStatus"] or "unknown"
    about = f"{dollars(found['spendingPower'])} to spend · {agreed}"
    return _row(found["userId"], about, _pill(f"KYC {_words(status)}", status))


def card(found: dict[str, Any], whose: str) -> str:
    """Render a card of the user `whose`: its label and last four digits, never its number."""
    limit = found["limit"]
    about = f"{dollars(limit['amountCents'])} {_PERIODS[limit['frequency']]}" if limit else "No limit"
    ends = f"card ending in {found['last4']}"
    pay = ""
    if found["status"] != "canceled":
        amount = '<label>Dollars <input name="amount" inputmode="decimal" maxlength="12" value="5.00" required></label>'
        pay = form("spend", f"Post a spend: {ends}", amount, cardId=found["cardId"])
    # A locked or canceled card is as its user wants it, so it is no fault.
    pill = _pill(_words(found["status"]), "approved" if found["status"] == "active" else "")
    name = f"{found['label']}, {ends}" if found["label"] else ends.capitalize()
    return _row(name, f"{whose} · {about}", pill, pay)


def deposit(found: dict[str, Any], whose: str) -> str:
    """Render a deposit of the user `whose`."""
    amount, status = dollars(found["amountCents"]), found["status"]
    complete = ""
    if not found["completed"]:
        complete = form("deposits", f"Complete deposit: {amount} of {whose}", depositId=found["id"])
    return _row(amount, f"{whose} · {found['asset']}", _pill(_words(status), status), complete)


def withdrawal(found: dict[str, Any], whose: str, seconds_left: int) -> str:
    """Render a withdrawal of the user `whose`, whose live signature lasts this long."""
    amount, status = dollars(found["amountCents"]), found["status"]
    about = whose if found["asset"] is None else f"{whose} · {found['asset']}"
    execute = ""
    if status == "signed":
        about += f" · valid for {duration(seconds_left)}"
        execute = form("withdrawals", f"Execute withdrawal: {amount} of {whose}", userId=whose)
    pill = _pill(_WITHDRAWALS.get(status, status), status)
    return _row(amount, about, pill, execute, address=found["address"] or "")


def fault(armed: dict[str, Any]) -> str:
    """Render an armed fault."""
    about = f"{_words(armed['kind'])}, calls left: {armed['calls']}"
    return _row(f"{armed.get('method', 'any method')} {armed['path']}", about)


def form(action: str, label: str, inner: str = "", *, primary: bool = False, **hidden: str) -> str:
    """Render a form with one button. Screen readers read all of `label`; the button shows it up to the colon."""
    kept = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in hidden.items())
    text, _, more = label.partition(": ")
    tone = ' class="primary"' if primary else ""
    button = f'<button{tone} aria-label="{escape(f"{text}: {more}")}">{escape(text)}</button>'
    return f'<form method="post" action="/control/{action}">{kept}{inner}{button}</form>'


def dollars(cents: int) -> str:
    """Format an amount as people write it, such as $1,234.50."""
    return f"{'-' if cents < 0 else ''}${abs(cents) / 100:,.2f}"


def duration(seconds: float) -> str:
    """Format a duration in its largest unit, rounded."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count:,} {unit}{'s' if count > 1 else ''}"
    return f"{seconds:.0f} s"


def _words(status: str) -> str:
    return status.replace("_", " ")


def _pill(text: str, status: str) -> str:
    return f'<span class="pill {_TONES.get(status, "")}">{escape(text)}</span>'


def _row(what: str, about: str, pill: str = "", forms: str = "", *, address: str = "") -> str:
    where = f"<code>{escape(address)}</code>" if address else ""
    actions = f'<div class="actions">{forms}</div>' if forms else ""
    return (
        f'<li><div class="what"><strong>{escape(what)}</strong><small>{escape(about)}</small>{where}</div>'
        f"{pill}{actions}</li>"
    )
