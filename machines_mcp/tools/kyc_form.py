"""The identity data as arguments: flat, with the API's limits, and turned into its application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from machines_mcp import partner
from machines_mcp.protocol.tool import UserInput

if TYPE_CHECKING:
    from machines_mcp.partner import KycApplication


def _en_dash(value: Any) -> Any:
    """The API's ranges are written with an en dash (U+2013); a hyphen means the same."""
    return value.replace("-", "–") if isinstance(value, str) else value


Salary = Annotated[Literal["<40k", "50k–99k", "100k–149k", "150k+"], BeforeValidator(_en_dash)]
Purpose = Literal["everyday spend", "subscriptions", "business expenses", "testing", "other"]
Volume = Annotated[Literal["under $1k", "$1k–$5k", "$5k–$20k", "$20k+"], BeforeValidator(_en_dash)]
Country = Annotated[str, Field(pattern=r"^[A-Za-z]{2}$")]
Short = Annotated[str, Field(min_length=1, max_length=50)]
Line = Annotated[str, Field(min_length=1, max_length=100)]


class SubmitKyc(UserInput):
    """All of the form, but for what is optional there, or nothing of it: then a person fills it in."""

    first_name: Short | None = None
    last_name: Short | None = None
    birth_date: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="YYYY-MM-DD")
    national_id: str | None = Field(default=None, min_length=1, max_length=50, pattern=r"^[0-9A-Za-z-]+$")
    country_of_issue: Country | None = Field(default=None, description="Of national_id; ISO alpha-2")
    email: str | None = Field(default=None, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
    address_line1: Line | None = None
    address_line2: Line | None = None
    address_city: Line | None = None
    address_region: Line | None = None
    address_postal_code: str | None = Field(default=None, min_length=1, max_length=20)
    address_country_code: Country | None = None
    phone_country_code: str | None = Field(default=None, pattern=r"^\d{1,3}$")
    phone_number: str | None = Field(default=None, pattern=r"^\d{4,15}$")
    occupation: str | None = Field(
        default=None, pattern=r"^[0-9A-Za-z-]{3,20}$", description="Code from get_kyc_requirements"
    )
    annual_salary: Salary | None = None
    account_purpose: Purpose | None = None
    expected_monthly_volume: Volume | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What of the form came with the call, by name."""
        return {name: getattr(self, name) for name in IDENTITY if getattr(self, name) is not None}

    @model_validator(mode="after")
    def _all_or_nothing(self) -> SubmitKyc:
        given = self.given
        missing = [name for name in IDENTITY if name not in given and name not in _OPTIONAL]
        if given and missing:
            # Without any input: an error must not carry what was given along.
            raise ValidationError.from_exception_data(
                "SubmitKyc", [{"type": "missing", "loc": (name,), "input": None} for name in missing]
            )
        return self


_OPTIONAL = frozenset({"address_line2", "phone_country_code", "phone_number"})
IDENTITY = tuple(name for name in SubmitKyc.model_fields if name != "user_id")
"""The arguments that hold identity data."""


def application(args: SubmitKyc) -> KycApplication:
    """The body of POST /kyc/applications."""
    data = {name: value.upper() if "country_" in name else value for name, value in args.given.items()}
    lines = {name.removeprefix("address_"): data.pop(name) for name in list(data) if name.startswith("address_")}
    return partner.KycApplication(**data, address=partner.KycAddress(**lines))
