"""KYC: the form, the application and its status."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints, ValidationInfo

from machines_mcp.partner.formats.identity import (
    birth_date_fault,
    calling_code,
    country_fault,
    email_fault,
    national_number,
)
from machines_mcp.partner.formats.occupations import SYNONYMS
from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.types import Flag, OccupationCode, Rows, Text, Texts, Whole
from machines_mcp.redaction.links import is_openable

# An open set: unlisted values are kept unchanged.
KycStatusValue = (
    Literal[
        "not_submitted",
        "pending",
        "manual_review",
        "needs_information",
        "needs_verification",
        "approved",
        "denied",
        "locked",
        "canceled",
    ]
    | str
)

_SETTLED = frozenset({"not_submitted", "approved", "denied", "locked", "canceled"})


def _birth_date(value: str) -> str:
    return _valid(value, birth_date_fault(value, datetime.now(UTC).date()))


def _country(value: str) -> str:
    return _valid(value, country_fault(value))


def _email(value: str) -> str:
    return _valid(value, email_fault(value))


def _calling_code(value: str) -> str:
    return _valid(value, None if calling_code(value) == value else "has a prefix")


def _phone_number(value: str, info: ValidationInfo) -> str:
    code = info.data.get("phone_country_code")
    return _valid(value, None if code is None or national_number(code, value) == value else "has a prefix")


def _valid(value: str, fault: str | None) -> str:
    if fault is not None:
        raise ValueError(fault)
    return value


_Name = Annotated[Text, StringConstraints(max_length=50)]
_Line = Annotated[Text, StringConstraints(max_length=200)]
_Choice = Annotated[Text, StringConstraints(max_length=60)]
_Date = Annotated[str, AfterValidator(_birth_date)]
_Country = Annotated[str, AfterValidator(_country)]
_NationalId = Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9A-Za-z-]+$")]
_Email = Annotated[Text, StringConstraints(max_length=254), AfterValidator(_email)]
_Soc = OccupationCode
_CallingCode = Annotated[str, AfterValidator(_calling_code)]
_PhoneNumber = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}$"), AfterValidator(_phone_number)]


class KycField(ResponseModel):
    """One field of the form, with the API's validation rules."""

    name: str = documented("")
    required: Flag = documented(True)
    type: str = documented("")
    max_length: Whole | None = None
    min_length: Whole | None = None
    regex: str | None = None
    enum: Texts | None = None
    description: str | None = None


class Occupation(ResponseModel):
    """An occupation and its SOC code, such as `49-3023`."""

    code: OccupationCode = documented("")
    label: str = documented("")

    @property
    def other_words(self) -> str:
        """Words that people use for the occupation and that are not in its label."""
        return SYNONYMS.get(self.code or "", "")


class KycValues(ResponseModel):
    """The fields of the form, and the allowed values of those with a list."""

    fields: Rows[KycField]
    occupations: Rows[Occupation] = documented(())
    annual_salary: Texts = documented(())
    expected_monthly_volume: Texts = documented(())
    account_purpose: Texts = documented(())

    def flat_fields(self) -> list[KycField]:
        """Return the fields under flat snake_case names, with their allowed values.

        `address` becomes its parts, for which the API gives no rules: their `type` is empty.
        """
        found = []
        for field in self.fields:
            # A field without a name can be neither shown nor filled in.
            if not field.name:
                continue
            name = _CAMEL.sub("_", field.name).lower()
            if name == "address":
                found += [KycField(name=part, required=part != "address_line2", type="") for part in _ADDRESS]
            else:
                values = getattr(self, name) if name in _LISTED else field.enum
                found.append(field.model_copy(update={"name": name, "enum": values or field.enum}))
        return found

    def matching_occupations(self, query: str) -> list[Occupation]:
        """Return the occupations that match all words, or else those that match any.

        Label, code and other words for the occupation are searched.
        """
        words = query.lower().split()
        texts = [(one, f"{one.label} {one.code} {one.other_words}".lower()) for one in self.occupations]
        hits = [one for one, text in texts if all(word in text for word in words)]
        return hits or [one for one, text in texts if any(word in text for word in words)]


_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LISTED = ("annual_salary", "account_purpose", "expected_monthly_volume")
_ADDRESS = tuple(f"address_{part}" for part in ("line1", "line2", "city", "region", "postal_code", "country_code"))


class KycStatus(ResponseModel):
    """The status of a KYC check. The user opens `link`."""

    status: KycStatusValue | None = documented()
    is_terms_of_service_accepted: Flag | None = documented()
    reason: str | None = None
    completion_link: str | None = None
    external_verification_link: str | None = None
    is_active: Flag | None = None

    @property
    def link(self) -> str | None:
        """The first of the two links that a person may open; if there is none, the first one that was sent."""
        links = [link for link in (self.completion_link, self.external_verification_link) if link]
        return next((link for link in links if is_openable(link)), links[0] if links else None)

    @property
    def settled(self) -> bool:
        """Whether the status can't change by itself: there is no application, or it reached a final status."""
        return self.status in _SETTLED


class KycAddress(RequestModel):
    """The user's home address. Each line has 1 to 200 characters; the country is ISO 3166-1 alpha-2."""

    line1: _Line
    line2: _Line | None = None
    city: _Line
    region: _Line
    postal_code: _Line
    country_code: _Country

    def __repr__(self) -> str:
        return "KycAddress()"

    __str__ = __repr__


class KycApplication(RequestModel):
    """Body of `POST /kyc/applications`. Its repr shows no values.

    `birth_date` is `YYYY-MM-DD`, `phone_number` the national number without a prefix, `occupation` a code from
    `KycValues.occupations`. The last three fields must match values of its lists exactly; the API's dashes are en
    dashes. Raises `InvalidRequest`, naming the field.
    """

    first_name: _Name
    last_name: _Name
    birth_date: _Date
    national_id: _NationalId
    country_of_issue: _Country
    email: _Email
    address: KycAddress
    phone_country_code: _CallingCode | None = None
    phone_number: _PhoneNumber | None = None
    occupation: _Soc
    annual_salary: _Choice
    account_purpose: _Choice
    expected_monthly_volume: _Choice

    def __repr__(self) -> str:
        return "KycApplication()"

    __str__ = __repr__
