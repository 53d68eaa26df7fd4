"""The resources this server has: the journey's map, and what read tools answer."""

from __future__ import annotations

from machines_mcp.protocol.resources import Resource
from machines_mcp.protocol.tool import Tool
from machines_mcp.tools.catalog import TOOLS


def _journey(tools: tuple[Tool, ...]) -> str:
    """The map, made of the tools' own step numbers, so that it can't differ from them."""
    steps = sorted({step for tool in tools for step in tool.steps})
    lines = [
        "# The journey",
        "",
        "The fifteen steps of the Partner API guide and the tools that take them. Gates: the identity check must be"
        " approved before the agreements, the agreements accepted before deposits, withdrawals and cards.",
        "",
    ]
    for step in steps:
        names = ", ".join(f"`{tool.name}`" for tool in tools if step in tool.steps)
        lines.append(f"{step}. {names}")
    extra = ", ".join(f"`{tool.name}`" for tool in tools if not tool.steps)
    return "\n".join([*lines, "", f"At any time: {extra}.", ""])


RESOURCES: tuple[Resource, ...] = (
    Resource("journey", "The journey", "The fifteen steps, their tools and their gates.", text=_journey(TOOLS)),
    Resource(
        "kyc/fields", "KYC fields", "The identity data that is needed, with its rules.", tool="get_kyc_requirements"
    ),
    Resource(
        "agreements",
        "Agreements",
        "Their texts, and whether they are accepted.",
        tool="get_agreements",
        linked_by=("accept_agreements",),
    ),
    Resource("transactions", "Recent transactions", "The newest transactions.", tool="list_transactions"),
    Resource(
        "cards/{card_id}",
        "A card",
        "A card without its number: label, status, limit.",
        tool="get_card",
        linked_by=("create_card", "update_card"),
    ),
)
