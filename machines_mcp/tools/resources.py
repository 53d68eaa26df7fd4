"""The server's resources: the journey map and the results of read tools."""

from __future__ import annotations

from machines_mcp.protocol.resources import Resource
from machines_mcp.protocol.tool import Tool
from machines_mcp.tools.catalog import TOOLS


def _journey(tools: tuple[Tool, ...]) -> str:
    """Build the journey map from the tools' step numbers, so the two can't diverge."""
    steps = sorted({step for tool in tools for step in tool.steps})
    lines = [
        "# The journey",
        "",
        "The fifteen steps of the Partner API guide, with their tools. Agreements require an approved identity check."
        " Deposits, withdrawals and cards require accepted agreements.",
        "",
    ]
    for step in steps:
        names = ", ".join(f"`{tool.name}`" for tool in tools if step in tool.steps)
        lines.append(f"{step}. {names}")
    extra = ", ".join(f"`{tool.name}`" for tool in tools if not tool.steps)
    return "\n".join([*lines, "", f"At any time: {extra}.", ""])


RESOURCES: tuple[Resource, ...] = (
    Resource("journey", "The journey", "The fifteen steps, their tools and prerequisites.", text=_journey(TOOLS)),
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
