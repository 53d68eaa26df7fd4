from __future__ import annotations

import random

import pytest

from machines_mcp.permissions.approval_details import Destination, Fact, Stakes
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


@pytest.mark.parametrize(
    "stakes",
    [
        Stakes("Pay?"),
        Stakes("“Zahl 5 €?”\n", facts=(Fact("To", "x", "new"), Fact("From", "y"))),
        Stakes("Pay?", amount_cents=0, destination=Destination("XRP", "xrp", "r1", "memo")),
        Stakes("Pay?", destination=Destination("USDC", "base", "0x1")),
        Stakes("Card?", limits_card=True, limit_cents=1, limit_frequency="allTime", card_id="card-1"),
        Stakes("Show?", card_id="card-1", sink="page", only="page"),
    ],
)
def test_a_row_gives_back_what_it_was_given_in_one_spelling(stakes: Stakes) -> None:
    again = Stakes.from_json(stakes.as_json())
    assert again == stakes
    assert again.as_json() == stakes.as_json()


def test_the_default_of_a_row_from_before_is_readable() -> None:
    assert Stakes.from_json('{"question":""}') == Stakes("")
