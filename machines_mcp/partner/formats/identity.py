"""The forms of identity data: birth dates, countries, e-mail addresses and phone numbers.

A fault is the words after a field's name.
"""

from __future__ import annotations

import re
from datetime import date

EARLIEST_BIRTH_DATE = date(1900, 1, 1)

# RFC 1123: a host's labels are 1 to 63 letters, digits and hyphens, with no hyphen at an end. RFC 5321: no empty parts.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"[^@.\s]+(?:\.[^@.\s]+)*@(?:{_LABEL}\.)+(?=[A-Za-z0-9-]*[A-Za-z]){_LABEL}")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PHONE = re.compile(r"\+?[0-9() .\-\u2010-\u2015/]+")


class PhoneFault(ValueError):
    """A phone number that can't exist, with the rule that it breaks."""


def birth_date_fault(text: str, today: date) -> str | None:
    """Return why nobody was born on this date."""
    try:
        # Python would also accept the ISO forms 1990-W05-3 and 19900131.
        born = date.fromisoformat(text) if _ISO_DATE.fullmatch(text) else None
    except ValueError:
        born = None
    if born is None:
        return "must be an ISO date, such as 1990-01-31"
    if born > today:
        return "must not be in the future"
    return "must be 1900-01-01 or later" if born < EARLIEST_BIRTH_DATE else None


def country_fault(code: str) -> str | None:
    """Return why no country has this code, in any case."""
    from iso3166 import countries_by_alpha2

    known = code.upper() in countries_by_alpha2
    return None if known else "must be a country's ISO 3166-1 alpha-2 code, such as US or GB"


def email_fault(text: str) -> str | None:
    """Return why nobody has this e-mail address."""
    return None if _EMAIL.fullmatch(text) else "must be an e-mail address, such as name@example.com"


def calling_code(text: str) -> str:
    """Return the digits of a country's calling code: 44 for `+44`, `0044` and `(+44)`.

    Raises:
        PhoneFault: No country has it.
    """
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    digits = re.sub(r"[-+() ]", "", text)
    digits = digits.removeprefix("00")
    if not re.fullmatch("[1-9][0-9]{0,2}", digits) or int(digits) not in COUNTRY_CODE_TO_REGION_CODE:
        raise PhoneFault("must be a country's calling code, such as 1 or 44")
    return digits


def national_number(code: str, text: str) -> str:
    """Return the digits of a phone number after the calling code `code`, without a national prefix.

    `+44 (0)20 7946 0958`, `0044 20 7946 0958` and `020 7946 0958` are 2079460958 for the code 44.

    Raises:
        PhoneFault: The number can't exist in that country.
    """
    import phonenumbers

    international = re.sub(r"^\s*00", "+", text)
    region = phonenumbers.region_code_for_country_code(int(code))
    try:
        found = phonenumbers.parse(international, region) if _PHONE.fullmatch(international.strip()) else None
    except phonenumbers.NumberParseException:
        found = None
    if found is None:
        raise PhoneFault("must be a phone number: digits with the area code")
    if found.country_code != int(code):
        raise PhoneFault("must not start with a code other than phone_country_code")
    if phonenumbers.is_possible_number_with_reason(found) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise PhoneFault("must have as many digits as the country's numbers, with the area code")
    return phonenumbers.national_significant_number(found)
