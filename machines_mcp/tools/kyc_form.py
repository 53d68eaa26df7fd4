"""The identity data as arguments: flat, with the API's limits, and turned into its application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

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
    first_name: Short
    last_name: Short
    birth_date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="YYYY-MM-DD")
    national_id: str = Field(min_length=1, max_length=50, pattern=r"^[0-9A-Za-z-]+$")
    country_of_issue: Country = Field(description="Of national_id; ISO alpha-2")
    email: str = Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
    address_line1: Line
    address_line2: Line | None = None
    address_city: Line
    address_region: Line
    address_postal_code: str = Field(min_length=1, max_length=20)
    address_country_code: Country
    phone_country_code: str | None = Field(default=None, pattern=r"^\d{1,3}$")
    phone_number: str | None = Field(default=None, pattern=r"^\d{4,15}$")
    occupation: str = Field(pattern=r"^[0-9A-Za-z-]{3,20}$", description="Code from get_kyc_requirements")
    annual_salary: Salary
    account_purpose: Purpose
    expected_monthly_volume: Volume


def application(args: SubmitKyc) -> KycApplication:
    """The body of POST /kyc/applications."""
    return partner.KycApplication(
        first_name=args.first_name,
        last_name=args.last_name,
        birth_date=args.birth_date,
        national_id=args.national_id,
        country_of_issue=args.country_of_issue.upper(),
        email=args.email,
        address=partner.KycAddress(
            line1=args.address_line1,
            line2=args.address_line2,
            city=args.address_city,
            region=args.address_region,
            postal_code=args.address_postal_code,
            country_code=args.address_country_code.upper(),
        ),
        phone_country_code=args.phone_country_code,
        phone_number=args.phone_number,
        occupation=args.occupation,
        annual_salary=args.annual_salary,
        account_purpose=args.account_purpose,
        expected_monthly_volume=args.expected_monthly_volume,
    )
