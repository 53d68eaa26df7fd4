"""Identity data as flat arguments with the API's limits, and its conversion to an application."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from machines_mcp import partner
from machines_mcp.partner.formats.identity import (
    PhoneFault,
    birth_date_fault,
    calling_code,
    country_fault,
    email_fault,
    national_number,
)
from machines_mcp.partner.vocabulary import OCCUPATION_CODE
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.protocol.coercion import hyphened
from machines_mcp.protocol.tool import WORDS_KEPT, Text, UserInput
from machines_mcp.tools.text import clean

if TYPE_CHECKING:
    from machines_mcp.partner import KycApplication


def _digits(value: Any) -> Any:
    """Reduce `+1 (415) 555-1234` to 14155551234. A value with other characters is returned unchanged."""
    bare = _AROUND_DIGITS.sub("", value) if isinstance(value, str) else ""
    return bare if _DIGITS.fullmatch(bare) else value


def _calling_code(value: Any) -> Any:
    # A number has lost no digit, because no calling code starts with zero.
    text = str(value) if type(value) is int and value > 0 else value
    return _checked(calling_code, text) if isinstance(text, str) else value


def _phone(value: Any, info: ValidationInfo) -> Any:
    text = str(value) if type(value) is int and value > 0 else value
    if not isinstance(text, str):
        return value
    code = info.data.get("phone_country_code")
    if code is not None:
        return _checked(lambda given: national_number(code, given), text)
    if text.lstrip().startswith(("+", "00")):
        raise PydanticCustomError("machines_rule", "must be the number without its code, and the code given apart")
    return _digits(text)


def _date(value: Any) -> Any:
    text = value.strip() if isinstance(value, str) else ""
    return _valid(text, birth_date_fault(text, datetime.now(UTC).date()))


def _country(value: Any) -> Any:
    text = value.strip().upper() if isinstance(value, str) else ""
    return _valid(text, country_fault(text))


def _valid(value: str, fault: str | None) -> str:
    if fault is not None:
        raise PydanticCustomError("machines_rule", fault)
    return value


def _checked(read: Callable[[str], str], text: str) -> str:
    try:
        return read(text)
    except PhoneFault as fault:
        rule = str(fault)
    return _valid(text, rule)


def _code(value: Any) -> Any:
    return hyphened(value).strip() if isinstance(value, str) else value


_AROUND_DIGITS = re.compile(r"[-+() ‐‑‒–−]")  # noqa: RUF001 - dashes as people and models write them
_DIGITS = re.compile(r"[0-9]+")

# The API's ranges are written with an en dash (U+2013).
Salary = Literal["<40k", "50k–99k", "100k–149k", "150k+"]
Purpose = Literal["everyday spend", "subscriptions", "business expenses", "testing", "other"]
Volume = Literal["under $1k", "$1k–$5k", "$5k–$20k", "$20k+"]
Country = Annotated[
    str,
    Field(pattern=r"^[A-Za-z]{2}$", description="ISO alpha-2, as US", examples=["US"]),
    BeforeValidator(_country),
]
BirthDate = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="YYYY-MM-DD", examples=["1990-12-31"]),
    BeforeValidator(_date),
]
NationalId = Annotated[
    str,
    Field(
        max_length=50,
        pattern=r"^[0-9A-Za-z-]+$",
        description="String with its leading zeros; dashes may stay",
        examples=['"001234567", in quotes'],
    ),
    BeforeValidator(_digits),
]
CallingCode = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,3}$", description="Calling code without +, as 1", examples=["1"]),
    BeforeValidator(_calling_code),
]
PhoneNumber = Annotated[
    str,
    Field(pattern=r"^[0-9]{4,15}$", description="Without phone_country_code", examples=["4155550100"]),
    BeforeValidator(_phone),
]
Occupation = Annotated[
    str,
    Field(pattern=OCCUPATION_CODE, description="Code from get_kyc_requirements", examples=["15-1132"]),
    BeforeValidator(_code),
]
Email = Annotated[
    str,
    Field(max_length=254, pattern=r"^\S+@\S+$", description="E-mail address", examples=["ada@example.com"]),
    AfterValidator(lambda value: _valid(value, email_fault(value))),
]
Short = Annotated[Text, Field(min_length=1, max_length=50)]
Line = Annotated[Text, Field(min_length=1, max_length=100)]


class SubmitKyc(UserInput):
    """All required identity fields, or none: then a person fills in the form."""

    first_name: Short | None = Field(default=None, description="Given names", json_schema_extra=WORDS_KEPT)
    last_name: Short | None = Field(default=None, description="Family name", json_schema_extra=WORDS_KEPT)
    birth_date: BirthDate | None = None
    national_id: NationalId | None = None
    country_of_issue: Country | None = Field(default=None, description="Of national_id; ISO alpha-2")
    email: Email | None = None
    address_line1: Line | None = Field(default=None, description="Street and number")
    address_line2: Line | None = Field(default=None, description="Apartment or unit")
    address_city: Line | None = Field(default=None, description="City")
    address_region: Line | None = Field(default=None, description="State or province")
    address_postal_code: Text | None = Field(
        default=None, min_length=1, max_length=20, description="ZIP or postcode", examples=['"02139", in quotes']
    )
    address_country_code: Country | None = None
    phone_country_code: CallingCode | None = None
    phone_number: PhoneNumber | None = None
    occupation: Occupation | None = None
    annual_salary: Salary | None = Field(default=None, description="In US dollars")
    account_purpose: Purpose | None = Field(default=None, description="Main use of the card")
    expected_monthly_volume: Volume | None = Field(default=None, description="Expected spend")

    @property
    def identity_data(self) -> dict[str, Any]:
        """The identity data that came with the call, by field name."""
        return {name: getattr(self, name) for name in IDENTITY if getattr(self, name) is not None}

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if given.keys() & set(IDENTITY):
            yield from ((name, "is required") for name in IDENTITY if name not in given and name not in _OPTIONAL)
        missing = [name for name in _PHONE if name not in given]
        if len(missing) == 1:
            yield missing[0], "is missing; a phone number is its calling code and its number, or neither"


# An id of fewer characters would be shown for the most part.
_SHOWS_ITS_END = 6
_PHONE = ("phone_country_code", "phone_number")
_OPTIONAL = frozenset({"address_line2", *_PHONE})
_FROM_LISTS = frozenset(
    {
        *("country_of_issue", "address_country_code", "phone_country_code"),
        *("occupation", "annual_salary", "account_purpose", "expected_monthly_volume"),
    }
)
IDENTITY = tuple(name for name in SubmitKyc.model_fields if name != "user_id")
"""The arguments that hold identity data."""


def field_words(name: str) -> str:
    """Return the name of a field as a person reads it: `address line 1`, `national ID`."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", name.replace("_", " ")).replace("national id", "national ID")


def masked_identity(args: SubmitKyc) -> tuple[Detail, ...]:
    """Return what a person needs to recognize whose data it is, and nothing else of it."""
    if not args.identity_data:
        return ()
    names, countries = (args.first_name, args.last_name), (args.country_of_issue, args.address_country_code)
    national_id, (_, _, domain) = args.national_id or "", (args.email or "").rpartition("@")
    ending = national_id[-3:] if len(national_id) >= _SHOWS_ITS_END else ""
    return (
        Detail("Name", clean(" ".join(name for name in names if name), 101), by="agent"),
        Detail("Born in", (args.birth_date or "")[:4]),
        Detail("Country", " and ".join(dict.fromkeys(country for country in countries if country)), by="agent"),
        Detail("National ID", f"ending {ending}" if ending else "too short to show its end"),
        Detail("E-mail", f"at {clean(domain, 254)}", by="agent"),
    )


def personal_data(args: SubmitKyc) -> list[str]:
    """Return the values that belong to one person. The others are chosen from lists that everybody can read."""
    data = {name: str(value) for name, value in args.identity_data.items() if name not in _FROM_LISTS}
    phone = f"{args.phone_country_code or ''}{args.phone_number or ''}"
    return [*data.values(), f"{args.first_name} {args.last_name}", phone]


def application(args: SubmitKyc) -> KycApplication:
    """Build the body of POST /kyc/applications."""
    data = args.identity_data
    lines = {name.removeprefix("address_"): data.pop(name) for name in list(data) if name.startswith("address_")}
    return partner.KycApplication(**data, address=partner.KycAddress(**lines))
