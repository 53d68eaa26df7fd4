"""The server's resources: the journey map and the results of read tools."""

from __future__ import annotations

from dataclasses import dataclass

from machines_mcp.partner import scopes
from machines_mcp.partner.scopes import RequiredScopes
from machines_mcp.protocol.resources import Resource
from machines_mcp.protocol.tool import Tool
from machines_mcp.tools.catalog import TOOLS

_KYC = "the identity check is approved"
_AGREEMENTS = "the agreements are accepted"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the guide: its name, what must hold before it, and the scopes of its session tokens."""

    name: str
    gate: str | None = None
    scopes: tuple[RequiredScopes, ...] = ()
    partner_key: bool = False

    def text(self, tools: str) -> str:
        """Return the step's line in the map."""
        asked = sorted({scope for required in self.scopes for scope in required.scopes})
        rights = f" Scopes: {', '.join(asked)}." if asked else ""
        rights += " With the partner key." if self.partner_key else ""
        gate = f" Only after {self.gate}." if self.gate else ""
        return f"{tools}: {self.name}.{gate}{rights}"


STEPS = {
    1: Step("create a session for the identity check", partner_key=True),
    2: Step("create or link the user", partner_key=True),
    3: Step("get the identity data's rules and choices", scopes=(scopes.KYC_READ,)),
    4: Step("submit the identity data", scopes=(scopes.KYC_WRITE,)),
    5: Step("the user completes the verification on the provider's page"),
    6: Step("poll the identity check's status", scopes=(scopes.KYC_READ,)),
    7: Step("accept the agreements", _KYC, (scopes.AGREEMENTS_READ, scopes.AGREEMENTS_WRITE)),
    8: Step("choose an asset and create a deposit", _AGREEMENTS, (scopes.DEPOSITS_READ, scopes.DEPOSITS_WRITE)),
    9: Step("check the deposit and the balances", scopes=(scopes.DEPOSITS_READ,)),
    10: Step("create a second session, for cards", _KYC, partner_key=True),
    11: Step("encrypt the card's label, if it has one", scopes=(scopes.ENCRYPTION_WRITE,)),
    12: Step("create the card", _AGREEMENTS, (scopes.CARDS_WRITE,)),
    13: Step("create a session for the card's secrets", scopes=(scopes.CARD_SECRETS_READ,)),
    14: Step("get the encrypted secrets", scopes=(scopes.CARD_SECRETS_READ,)),
    15: Step("decrypt them, in the vault's process"),
}
"""The fifteen steps of the Partner API guide, by number."""


def _journey(tools: tuple[Tool, ...]) -> str:
    """Build the journey map from the tools' step numbers, so the two can't diverge."""
    lines = [
        "# The journey",
        "",
        "The fifteen steps of the Partner API guide, with their tools. Agreements require an approved identity check."
        " Deposits, withdrawals and cards require accepted agreements. Tools open the sessions that they need.",
        "",
    ]
    for number, step in STEPS.items():
        names = ", ".join(f"`{tool.name}`" for tool in tools if number in tool.steps)
        lines.append(f"{number}. {step.text(names)}")
    extra = ", ".join(f"`{tool.name}`" for tool in tools if not tool.steps)
    return "\n".join([*lines, "", f"At any time: {extra}.", ""])


RESOURCES: tuple[Resource, ...] = (
    Resource("journey", "The journey", "The fifteen steps with their tools, gates and scopes.", text=_journey(TOOLS)),
    Resource("kyc/fields", "KYC fields", "The required identity data and its rules.", tool="get_kyc_requirements"),
    Resource(
        "agreements",
        "Agreements",
        "Agreement texts, and whether they are accepted.",
        tool="get_agreements",
        linked_by=("accept_agreements",),
    ),
    Resource("transactions", "Recent transactions", "The newest transactions.", tool="list_transactions"),
    Resource(
        "cards/{card_id}",
        "A card",
        "A card's label, status and limit, without its number.",
        tool="get_card",
        linked_by=("create_card", "update_card"),
    ),
)
