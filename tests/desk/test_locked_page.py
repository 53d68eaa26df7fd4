"""The page with the cards that the agent locked: which proof unlocks them, and what it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from machines_mcp.desk.locked_cards import LockedCard
from machines_mcp.permissions.approval_details import Detail
from tests.support.running_desk import PASSPHRASE, FakeBrowser, browser, forms, running_desk

pytestmark = pytest.mark.anyio

SEEN = "ab" * 32


def card(number: int, **more: object) -> LockedCard:
    rows = (
        Detail("Card", f"ending 482{number}"),
        Detail("Status", "locked → active", before="locked"),
        Detail("Limit", f"$1{number}0.00 per 30 days"),
        Detail("Label", "</bdi><b>Paid</b>", by="agent"),
    )
    made = LockedCard(f"{number:032x}", "user-1", 1_798_000_000.0 + number, rows, SEEN)
    return replace(made, **more)  # type: ignore[arg-type]


@dataclass
class FakeCards:
    """Records what was to be unlocked."""

    cards: list[LockedCard] = field(default_factory=lambda: [card(1), card(2), card(3, problem="It is unreadable.")])
    unlocked: list[dict[str, str]] = field(default_factory=list)
    number: int = 0

    async def count(self) -> int:
        return self.number or len(self.cards)

    async def shown(self) -> list[LockedCard]:
        return self.cards

    async def unlock(self, ticked: Mapping[str, str]) -> list[str]:
        self.unlocked.append(dict(ticked))
        return [f"{len(ticked)} cards unlocked."]


@pytest.fixture
async def cards() -> FakeCards:
    return FakeCards()


@pytest.fixture
async def person(tmp_path: Path, cards: FakeCards) -> AsyncIterator[FakeBrowser]:
    async with running_desk(tmp_path, locked_cards=cards) as desk, browser(desk) as page:
        yield page


def ticks(*numbers: int) -> dict[str, str]:
    return {f"lock-{number:032x}": SEEN for number in numbers}


async def test_the_list_shows_number_limit_and_marked_label_of_each(person: FakeBrowser) -> None:
    home = (await person.get("/")).text
    assert "Locked by the agent in the last 24 hours: 3 cards" in home
    page = (await person.get("/locked")).text
    for text in ("Card ending 4821", "$110.00 per 30 days", "Card ending 4822", "It is unreadable."):
        assert text in page
    assert "<bdi>“&lt;/bdi&gt;&lt;b&gt;Paid&lt;/b&gt;”</bdi> <small>from the agent</small>" in page
    assert page.count('type="checkbox"') == 2


async def test_the_lists_say_how_many_cards_are_not_shown(person: FakeBrowser, cards: FakeCards) -> None:
    for number, home, page in (
        (50, "", ""),
        (51, "so 1 is not shown", "1 more card that was locked earlier is not shown"),
        (53, "so 3 are not shown", "3 more cards that were locked earlier are not shown"),
    ):
        cards.number = number
        for text, path in ((home, "/"), (page, "/locked")):
            shown = (await person.get(path)).text
            assert ("not shown" in shown) == bool(text)
            assert text in shown
    cards.cards = []
    assert "None of the newest 50 cards that the agent locked is still locked." in (await person.get("/locked")).text


async def test_a_card_whose_state_before_the_lock_is_unknown_says_so(person: FakeBrowser, cards: FakeCards) -> None:
    cards.cards = [card(1), card(2, before_unknown=True)]
    assert (await person.get("/locked")).text.count("Its state before the agent locked it is unknown.") == 1


@pytest.mark.parametrize(
    ("passphrase", "status", "fault"),
    [("", 422, "Type your passphrase first."), ("wrong wrong wrong", 403, "Wrong passphrase.")],
)
async def test_without_the_passphrase_nothing_is_unlocked_and_the_ticks_stay(
    person: FakeBrowser, cards: FakeCards, passphrase: str, status: int, fault: str
) -> None:
    # A browser sends no box that is not ticked.
    person.page = (await person.get("/locked")).text.replace("checkbox", "radio")
    answer = await person.post("/locked", ticks(1) | {"passphrase": passphrase})
    assert (answer.status_code, fault in answer.text) == (status, True)
    assert answer.text.count(" checked>") == 1
    assert cards.unlocked == []


async def test_one_passphrase_unlocks_the_ticked_cards(person: FakeBrowser, cards: FakeCards) -> None:
    page = (await person.get("/locked")).text
    assert set(forms(page)["/locked"]) == {"token", "passphrase", *ticks(1, 2)}
    person.page = page.replace("checkbox", "radio")
    answer = await person.post("/locked", ticks(2) | {"passphrase": PASSPHRASE})
    assert (answer.status_code, person.led_to(answer)) == (303, "/locked")
    assert cards.unlocked == [{f"{2:032x}": SEEN}]
    assert "1 cards unlocked." in (await person.get("/locked")).text


async def test_forged_boxes_and_other_sessions_unlock_nothing(person: FakeBrowser, cards: FakeCards) -> None:
    person.page = (await person.get("/locked")).text.replace("checkbox", "radio")
    odd = {"lock-1": SEEN, f"lock-{1:032x}x": SEEN, f"lock-{2:032x}": "all", "passphrase": PASSPHRASE}
    assert (await person.post("/locked", odd)).status_code == 422
    assert (await person.post("/locked", ticks(1) | {"passphrase": PASSPHRASE, "token": "0" * 64})).status_code == 403
    assert cards.unlocked == []
