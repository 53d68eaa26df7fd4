"""Birth dates, countries and phone numbers that can be known to be wrong are refused."""

from __future__ import annotations

from datetime import date

import pytest
from iso3166 import countries_by_alpha2

from machines_mcp.partner.formats.identity import (
    PhoneFault,
    birth_date_fault,
    calling_code,
    country_fault,
    email_fault,
    national_number,
)

TODAY = date(2026, 11, 29)


@pytest.mark.parametrize("text", ["1990-01-31", "1900-01-01", "2026-11-29", "2024-02-29"])
def test_possible_birth_dates(text: str) -> None:
    assert birth_date_fault(text, TODAY) is None


@pytest.mark.parametrize(
    "text", ["2026-11-30", "2999-01-01", "1899-12-31", "2023-02-29", "1990-W05-3", "19900131", "1990-01-31\n"]
)
def test_impossible_birth_dates(text: str) -> None:
    assert (birth_date_fault(text, TODAY) or "").startswith("must ")


def test_countries_are_those_of_the_iso_list() -> None:
    letters = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    known = {a + b for a in letters for b in letters if country_fault(a + b) is None}
    assert known == set(countries_by_alpha2)
    assert {"US", "GB", "DE", "IR"} <= known
    assert not {"ZZ", "UK", "EU", "AN", "SU", "AA"} & known
    assert country_fault("gb") is None


@pytest.mark.parametrize("text", ["44", "+44", "0044", "(+44)", "+ 44"])
def test_calling_code_is_read_in_any_writing(text: str) -> None:
    assert calling_code(text) == "44"


@pytest.mark.parametrize("text", ["", "+", "00", "0", "999", "440", "UK", "+44 (0)", "٤٤", "1-684"])
def test_unknown_calling_codes_are_refused(text: str) -> None:
    with pytest.raises(PhoneFault):
        calling_code(text)


@pytest.mark.parametrize(
    ("code", "text", "digits"),
    [
        ("44", "+44 (0)20 7946 0958", "2079460958"),
        ("44", "(0)20 7946 0958", "2079460958"),
        ("44", "0044 20 7946 0958", "2079460958"),
        ("44", "020 7946 0958", "2079460958"),
        ("44", "2079460958", "2079460958"),
        ("1", "+1 (415) 555-0100", "4155550100"),
        ("1", "415–555–0100", "4155550100"),
        ("39", "02 3661 8300", "0236618300"),
        ("49", "+49 30/901820", "30901820"),
    ],
)
def test_national_number_has_no_prefix(code: str, text: str, digits: str) -> None:
    assert national_number(code, text) == digits


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1", "+4155550100"),
        ("1", "+ 20 7946 0958"),
        ("44", "+1 415 555 0100"),
        ("44", "0041 44 668 18 00"),
        ("1", "555-0100"),
        ("1", "1" * 16),
        ("1", "+"),
        ("1", "call me"),
        ("1", "٤١٥٥٥٥٠١٠٠"),
    ],
)
def test_impossible_numbers_are_refused(code: str, text: str) -> None:
    with pytest.raises(PhoneFault) as refused:
        national_number(code, text)
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["a@b.de", "ada.b+tag@sub.example.com", "o'neil@x-y.org", "é@example.com", "a@1.example", "a@xn--3e0b707e.de"],
)
def test_possible_email_addresses(text: str) -> None:
    assert email_fault(text) is None


LABELS = ["", "-", "-a", "a-", "a_b", "a b", "a" * 64, "ü"]


@pytest.mark.parametrize(
    "text",
    [
        *(f"ada@{label}.de" for label in LABELS),
        *(f"ada@example.{label}" for label in [*LABELS, "1"]),
        *(f"{local}@example.com" for local in ("", ".", ".a", "a.", "a..b", "a b", "a@b")),
        *("a@b", "a@", "a@.", "a@-.de", "a@b..de", "a@b.de.", "a@b.de\n"),
    ],
)
def test_impossible_email_addresses(text: str) -> None:
    assert (email_fault(text) or "").startswith("must be an e-mail address")
