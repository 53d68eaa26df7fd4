"""Record a conversation's calls and draw it: `python -m tests.docs.conversation [folder]`.

The sentences of the user and the agent are written here. The calls, their results and what the person is asked come
from a run against the simulator.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from machines_mcp.permissions.approval_details import AUTHORS, Detail
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.testing import ready_user
from tests.docs.pictures import run, save_picture

WIDTH = 1200
LIMIT = {"limit_amount_cents": 200_00, "limit_frequency": "per30DayPeriod", "label": "Travel"}
STYLE = """
body { margin: 0; padding: 40px 0 44px; background: #f3f4f6; color: #101828; font: 21px/1.45 Inter, sans-serif; }
main { width: 960px; margin: auto; display: grid; gap: 18px; }
p { margin: 0; }
.user { justify-self: end; max-width: 640px; background: #1f4fd8; color: #fff; padding: 12px 20px;
  border-radius: 20px 20px 5px 20px; }
.agent { max-width: 740px; }
.call { background: #fff; border: 1px solid #dfe3ea; border-radius: 12px;
  font: 17px/1.55 "DejaVu Sans Mono", monospace; }
.call p { padding: 10px 18px; }
.call p + p { border-top: 1px solid #eceff3; color: #475467; }
.call b { color: #1f4fd8; }
.person { justify-self: center; width: 700px; background: #fff; border: 2px solid #067647; border-radius: 16px;
  padding: 18px 24px 20px; box-shadow: 0 6px 20px #10182818; }
.person h2 { margin: 0 0 6px; font-size: 16px; font-weight: 600; color: #475467; }
.person .question { font-size: 23px; font-weight: 600; line-height: 1.35; }
.person dl { margin: 10px 0 0; display: grid; grid-template-columns: 110px 1fr; font-size: 19px; }
.person dt { color: #475467; }
.person dd { margin: 0; }
.person dd small { color: #475467; font-size: 16px; }
.person .decided { margin-top: 14px; display: inline-block; background: #067647; color: #fff; font-weight: 600;
  border-radius: 9px; padding: 7px 18px; }
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """The results of a run, and the question that a person approved, with its rows."""

    waiting: dict[str, Any]
    question: str
    rows: tuple[Detail, ...]
    decision: str
    card: dict[str, Any]
    reveal: dict[str, Any]


async def record() -> Recording:
    """Ask for a card, approve it as a person does, get it, and have its number verified."""
    async with ready_user("ana", answer=None) as user:
        waiting = await user.try_call("create_card", **LIMIT)
        async with open_guard(read_settings(user.env)) as guard:
            (asked,) = await guard.approvals.waiting()
        decision = await user.decide(waiting["approval_id"])
        card = await user.call("create_card", approval_id=waiting["approval_id"], **LIMIT)
        reveal = await user.call("reveal_card", card_id=card["card_id"])
        return Recording(waiting, asked.details.question, asked.details.items, decision, card, reveal)


def page(found: Recording) -> str:
    """Return the conversation as a page."""
    given = "limit: $200.00 per 30 days, label: Travel"
    card = {name: found.card[name] for name in ("last4", "status", "label")}
    seen = {name: found.reveal[name] for name in ("status", "shown", "last4")}
    parts = [
        _said("user", "Issue a card for Ana with 200 dollars a month, for her travel."),
        _called("create_card", given, f"{found.waiting['code']}: {found.waiting['message'].split('.')[0]}."),
        _asked(found, "Approved" if found.decision == "granted" else "Refused"),
        _called("create_card", "the same, with approval_id", _object(card)),
        _said("agent", f"Ana's card ending {found.card['last4']} is active: 200 dollars per 30 days."),
        _said("user", "What is its number?"),
        _called("reveal_card", f"card ending {found.card['last4']}", _object(seen)),
        _said("agent", "I can't see it. The vault decrypted and verified the number; only a person can have it shown."),
    ]
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><main>{''.join(parts)}</main>"


def _said(who: str, text: str) -> str:
    return f'<p class="{who}">{escape(text)}</p>'


def _called(tool: str, given: str, result: str) -> str:
    return f'<div class="call"><p><b>{tool}</b> {escape(given)}</p><p>{escape(result)}</p></div>'


def _asked(found: Recording, decided: str) -> str:
    rows = "".join(
        f"<dt>{escape(row.label)}</dt><dd>{escape(row.value)} <small>{AUTHORS[row.by] if row.by else ''}</small></dd>"
        for row in found.rows
    )
    return (
        '<div class="person"><h2>A person is asked, outside the conversation</h2>'
        f'<p class="question">{escape(found.question)}</p><dl>{rows}</dl><span class="decided">{decided}</span></div>'
    )


def _object(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()
    )


def take_picture(folder: Path) -> Path:
    """Save the picture in the folder and return its path."""
    return save_picture(page(asyncio.run(record())), "main", folder / "conversation.png", width=WIDTH, dark=False)


if __name__ == "__main__":
    run(take_picture)
