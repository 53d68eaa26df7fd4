"""The server features that each client must see, and the cells of the client matrix."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.text import pluralize

Seen = Mapping[str, Any]
Cell = Literal["yes", "no", "not offered by the client", "not in this era"]

LEGACY, MODERN = "2025-11-25", "2026-07-28"
PROMPTS = ["fund_account", "issue_card", "lost_card", "onboard_user", "withdraw"]
WHO = "peer-1"
NAMES = [tool.name for tool in TOOLS]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. `needs`: what a client that supports it recorded. `missing`: the eras without it, with the
    reason."""

    name: str
    needs: tuple[str, ...]
    holds: Callable[[Seen], bool]
    missing: Mapping[str, str] = field(default_factory=dict)

    def cell(self, seen: Seen, era: str) -> Cell:
        """Return the matrix cell for a client with these observations."""
        if era in self.missing:
            return "not in this era"
        if not all(name in seen for name in self.needs):
            return "not offered by the client"
        return "yes" if self.holds(seen) else "no"


def _status(seen: Seen) -> bool:
    content, structured = seen["status"]["content"], seen["status"]["structuredContent"]
    waiting, unresolved = pluralize(len(structured["waiting"]), "call"), len(structured["unresolved"])
    told = content[1]["text"] == f"{waiting} waiting for approval, {unresolved} unresolved."
    return told and structured["environment"] == "embedded" and json.loads(content[0]["text"]) == structured


def _progress(seen: Seen) -> bool:
    told = seen["progress"]
    return bool(told) and all(each["total"] == 1 and each["message"] == "the identity check" for each in told)


def _stopped(seen: Seen) -> bool:
    # The wait was for 50 seconds. A server that still waited would not exit as soon as its client leaves.
    ended = seen["stopped"] and seen["stopped_after_ms"] < 5_000 and seen["closed_in_ms"] < 1_400
    return bool(ended) and seen["afterwards"]["environment"] == "embedded"


def _card(seen: Seen) -> str:
    return f"machines://users/{WHO}/cards/{seen['card']['card_id']}"


def _icon(seen: Seen) -> bool:
    (icon,) = seen["server"]["icons"]
    return icon["src"].startswith("data:image/svg+xml;base64,") and seen["server"]["title"].startswith("Machines Cash")


def _addresses(seen: Seen) -> bool:
    places = ("kyc/fields", "agreements", "transactions", "cards/{card_id}")
    templates = [f"machines://users/{{user_id}}/{place}" for place in places]
    return seen["resources"] == ["machines://journey"] and seen["templates"] == templates


def _opened(seen: Seen) -> bool:
    # The page was offered, which does not count as a decision.
    told = seen["revealed"]
    return told["code"] == "approval.required" and seen["opened"] == [told["page"]]


def _declined(seen: Seen) -> bool:
    return json.loads(seen["declined"])["code"] == "approval.refused"


FEATURES = (
    Feature(
        "tools, in a stable order", ("tools", "tools_again"), lambda seen: seen["tools"] == seen["tools_again"] == NAMES
    ),
    Feature("structured output, with text and a summary", ("status",), _status),
    Feature("progress of a wait", ("progress",), _progress),
    Feature("cancellation: the call ends, the server continues", ("stopped", "afterwards", "closed_in_ms"), _stopped),
    Feature("dialog, accepted", ("accepted", "asked"), lambda seen: seen["accepted"]["status"] == "approved"),
    Feature("dialog, declined", ("declined",), _declined),
    Feature("URL dialog, if the client can open a page", ("opened", "revealed"), _opened),
    Feature("no dialog: `approval.required`", ("no_dialog",), lambda seen: seen["no_dialog"] == "approval.required"),
    Feature("prompts", ("prompts", "prompt"), lambda seen: seen["prompts"] == PROMPTS and WHO in seen["prompt"]),
    Feature("completion", ("completion",), lambda seen: WHO in seen["completion"]),
    Feature("resources and templates", ("resources", "templates"), _addresses),
    Feature("change notices", ("changed", "read"), lambda seen: seen["changed"] == [_card(seen)] and _locked(seen)),
    Feature("links in results", ("linked", "card"), lambda seen: seen["linked"] == [_card(seen)]),
    Feature("icon, title", ("server",), _icon),
    Feature("instructions", ("instructions",), lambda seen: 0 < len(seen["instructions"]) < 1_200),
    Feature(
        "lists marked private",
        ("cache",),
        lambda seen: seen["cache"] == ["private", 24 * 60 * 60 * 1000],
        {LEGACY: "Results carry `cacheScope` from 2026-07-28 on."},
    ),
    Feature("ping", ("ping",), lambda seen: seen["ping"] == 0, {MODERN: "2026-07-28 has no `ping`."}),
    Feature("errors `-32601`, `-32602`", ("errors",), lambda seen: seen["errors"] == [-32601, -32602]),
    Feature("nothing keeps running after the client disconnects", ("left",), lambda seen: seen["left"] == []),
)


def _locked(seen: Seen) -> bool:
    return bool(seen["read"]["status"] == "locked")


def row(seen: Seen, era: str) -> dict[str, Cell]:
    """Return the cells of one client in one era, by feature."""
    return {feature.name: feature.cell(seen, era) for feature in FEATURES}
