from __future__ import annotations

import random

import pytest

from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.storage.withdrawals import Destination
from tests.leaks.canaries import card_number

NUMBER = card_number(random.Random(1))  # noqa: S311


def test_stored_details_contain_no_card_number_from_a_text() -> None:
    details = ApprovalDetails(f"Label it {NUMBER}?", items=(Detail("label", f"for {NUMBER}", note="new"),))
    assert NUMBER in details.as_json()
    assert NUMBER not in details.masked().as_json()
    assert details.masked().items[0].note == "new"


def test_payment_fields_are_stored_verbatim() -> None:
    place = Destination("usdc", "base", NUMBER, extra_id=NUMBER)
    details = ApprovalDetails(f"Pay to {NUMBER}?", items=(Detail("address", NUMBER),), destination=place)
    assert details.masked() == details


@pytest.mark.parametrize(
    "details",
    [
        ApprovalDetails("Pay?"),
        ApprovalDetails("“Zahl 5 €?”\n", items=(Detail("To", "x", "new"), Detail("From", "y"))),
        ApprovalDetails("Pay?", amount_cents=0, destination=Destination("XRP", "xrp", "r1", "memo")),
        ApprovalDetails("Pay?", destination=Destination("USDC", "base", "0x1")),
        ApprovalDetails("Card?", limits_card=True, limit_cents=1, limit_frequency="allTime", card_id="card-1"),
        ApprovalDetails("Show?", card_id="card-1", sink="page", only="page"),
    ],
)
def test_details_round_trip_in_one_spelling(details: ApprovalDetails) -> None:
    again = ApprovalDetails.from_json(details.as_json())
    assert again == details
    assert again.as_json() == details.as_json()


def test_default_of_an_older_row_is_readable() -> None:
    assert ApprovalDetails.from_json('{"question":""}') == ApprovalDetails("")
