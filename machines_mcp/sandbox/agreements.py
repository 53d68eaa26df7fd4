"""The agreements, accepted together once KYC is approved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox.envelope import Success

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.user import User

PAGE_PATH: Final = "/legal"
# Id, page title and consent text. Invented, because the real texts are not public.
AGREEMENTS: Final = (
    (
        "cardholder-terms",
        "Cardholder terms",
        "I accept the terms of the simulated card. It costs nothing and can't buy anything.",
    ),
    ("electronic-consent", "Electronic consent", "I agree to receive notices about the simulated card electronically."),
    ("privacy-notice", "Privacy notice", "I have read that the simulator checks my data and doesn't store it."),
)


def read(call: Call) -> Success:
    """GET /agreements."""
    return Success(_view(call, call.user), "agreements")


def accept(call: Call) -> Success:
    """POST /agreements: accept all of them. A repeat keeps the time of the first acceptance."""
    fields = call.body()
    fields.require("accepted")
    if fields.values["accepted"] is not True:
        fields.refuse("accepted", "must be true")
    user = call.user
    if user.agreements_at is None:
        user = replace(user, agreements_at=call.now)
        call.state.db.execute("UPDATE users SET agreements_at = ? WHERE user_id = ?", (call.now, user.user_id))
    return Success(_view(call, user), "agreements accepted")


def _view(call: Call, user: User) -> dict[str, Any]:
    said = call.state.texts.at("agreement")
    return {
        "agreements": [
            {"id": name, "text": said or text, "links": [{"label": title, "url": f"{call.origin}{PAGE_PATH}/{name}"}]}
            for name, title, text in AGREEMENTS
        ],
        "accepted": user.agreements_at is not None,
        "acceptedAt": None if user.agreements_at is None else call.iso(user.agreements_at),
    }
