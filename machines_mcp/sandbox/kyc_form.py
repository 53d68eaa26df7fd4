"""The KYC form: its fields and lists as returned by `GET /kyc/values`, and the validation of an application."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from machines_mcp.sandbox.fields import Fields

# The dash in these values is U+2013 (en dash). An ASCII hyphen is refused.
ANNUAL_SALARY: Final = ("<40k", "50k–99k", "100k–149k", "150k+")
MONTHLY_VOLUME: Final = ("under $1k", "$1k–$5k", "$5k–$20k", "$20k+")
PURPOSES: Final = ("everyday spend", "subscriptions", "business expenses", "testing", "other")

OCCUPATIONS: Final = {
    "11-1011": "Chief Executives",
    "11-1021": "General and Operations Managers",
    "11-2011": "Advertising and Promotions Managers",
    "11-3031": "Financial Managers",
    "11-9021": "Construction Managers",
    "11-9041": "Architectural and Engineering Managers",
    "11-9071": "Gaming Managers",
    "11-9141": "Property, Real Estate, and Community Association Managers",
    "13-1041": "Compliance Officers",
    "13-2011": "Accountants and Auditors",
    "13-2051": "Financial Analysts",
    "13-2052": "Personal Financial Advisors",
    "13-2082": "Tax Preparers",
    "15-1121": "Computer Systems Analysts",
    "15-1131": "Computer Programmers",
    "15-1132": "Software Developers, Applications",
    "15-1133": "Software Developers, Systems Software",
    "15-1141": "Database Administrators",
    "15-1142": "Information Security Analysts",
    "15-1143": "Computer Network Architects",
    "15-1151": "Computer User Support Specialists",
    "17-2051": "Civil Engineers",
    "17-2071": "Electrical Engineers",
    "17-2141": "Mechanical Engineers",
    "19-3011": "Economists",
    "23-1011": "Lawyers",
    "23-2011": "Paralegals and Legal Assistants",
    "25-2021": "Elementary School Teachers",
    "27-1024": "Graphic Designers",
    "27-2012": "Producers and Directors",
    "29-1062": "Family and General Practitioners",
    "29-1067": "Surgeons",
    "29-1141": "Registered Nurses",
    "31-9097": "Phlebotomists",
    "33-3021": "Detectives and Criminal Investigators",
    "35-1011": "Chefs and Head Cooks",
    "35-3031": "Waiters and Waitresses",
    "41-2031": "Retail Salespersons",
    "41-9011": "Demonstrators and Product Promoters",
    "43-4051": "Customer Service Representatives",
    "43-9061": "Office Clerks, General",
    "47-2111": "Electricians",
    "49-3023": "Automotive Service Technicians and Mechanics",
    "53-3032": "Heavy and Tractor-Trailer Truck Drivers",
    "SELFEMP": "Self-employed",
    "UNEMPLO": "Unemployed",
    "RETIRED": "Retired",
    "OTHERXX": "Other",
}

_COUNTRY: Final = "^[A-Za-z]{2}$"
_NATIONAL_ID: Final = "^[0-9A-Za-z-]+$"
_DIGITS: Final = "^[0-9]+$"
_EMAIL: Final = r"[^@\s]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"
_ADDRESS: Final = ("line1", "city", "region", "postalCode")


def _field(name: str, kind: str = "string", *, required: bool = True, **rules: Any) -> dict[str, Any]:
    return {"name": name, "required": required, "type": kind, **rules}


FIELDS: Final = (
    _field("firstName", maxLength=50),
    _field("lastName", maxLength=50),
    _field("birthDate", "date", description="YYYY-MM-DD"),
    _field("nationalId", regex=_NATIONAL_ID),
    _field("countryOfIssue", minLength=2, maxLength=2, description="ISO 3166-1 alpha-2, upper or lower case"),
    _field("email", description="a valid email address"),
    _field("address", "object", description="line1, line2 (optional), city, region, postalCode, countryCode (alpha-2)"),
    _field("phoneCountryCode", required=False, maxLength=3, regex=_DIGITS, description="digits only"),
    _field("phoneNumber", required=False, maxLength=15, regex=_DIGITS, description="digits only, with area code"),
    _field("occupation", description="a code from occupations"),
    _field("annualSalary", "enum", enum=ANNUAL_SALARY),
    _field("accountPurpose", "enum", enum=PURPOSES),
    _field("expectedMonthlyVolume", "enum", enum=MONTHLY_VOLUME),
)


def check(fields: Fields, today: date) -> str:
    """Validate an application in the form's order, and return the last name, which decides the outcome.

    Raises:
        Refusal: 400, with the first invalid field.
    """
    fields.text("firstName", most=50)
    last_name = fields.text("lastName", most=50)
    _check_birth_date(fields, today)
    fields.text("nationalId", pattern=_NATIONAL_ID)
    _check_country(fields, "countryOfIssue")
    fields.text("email", most=254, pattern=_EMAIL)
    address = fields.child("address")
    for name in _ADDRESS:
        address.text(name, most=200)
    address.optional_text("line2", least=0, most=200)
    _check_country(address, "countryCode")
    fields.optional_text("phoneCountryCode", most=3, pattern=_DIGITS)
    fields.optional_text("phoneNumber", most=15, pattern=_DIGITS)
    fields.choice("occupation", OCCUPATIONS)
    fields.choice("annualSalary", ANNUAL_SALARY)
    fields.choice("accountPurpose", PURPOSES)
    fields.choice("expectedMonthlyVolume", MONTHLY_VOLUME)
    return last_name


def _check_country(fields: Fields, name: str) -> None:
    from iso3166 import countries_by_alpha2

    if fields.text(name, pattern=_COUNTRY).upper() not in countries_by_alpha2:
        fields.refuse(name, "must be an ISO 3166-1 alpha-2 code")


def _check_birth_date(fields: Fields, today: date) -> None:
    value = fields.text("birthDate", pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
    try:
        born = date.fromisoformat(value)
    except ValueError:
        fields.refuse("birthDate", "must be a date in the form YYYY-MM-DD")
    if not date(1900, 1, 1) <= born <= today:
        fields.refuse("birthDate", "must be a date of birth")
