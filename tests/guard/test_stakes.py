from __future__ import annotations

import random

from machines_mcp.guard.stakes import Destination, Fact, Stakes
from tests.leaks.canaries import card_number

NUMBER = card_number(random.Random(1))  # noqa: S311


def test_a_row_keeps_no_card_number_of_a_text() -> None:
    stakes = Stakes(f"Label it {NUMBER}?", facts=(Fact("label", f"for {NUMBER}", note="new"),))
    assert NUMBER in stakes.as_json()
    assert NUMBER not in stakes.masked().as_json()
    assert stakes.masked().facts[0].note == "new"


def test_what_money_follows_is_kept_to_the_letter() -> None:
    place = Destination("usdc", "base", NUMBER, extra_id=NUMBER)
    stakes = Stakes(f"Pay to {NUMBER}?", facts=(Fact("address", NUMBER),), destination=place)
    assert stakes.masked() == stakes
