"""Made-up identity data that the simulator approves, for the demo, the API probe and tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machines_mcp.partner import KycApplication

IDENTITY: Mapping[str, str] = {
    "first_name": "Grace",
    "last_name": "Approved",
    "birth_date": "1986-12-09",
    "national_id": "TEST-1906",
    "country_of_issue": "US",
    "email": "grace@example.com",
    "address_line1": "2 Harbor Road",
    "address_city": "Arlington",
    "address_region": "VA",
    "address_postal_code": "22201",
    "address_country_code": "US",
    "occupation": "15-1132",
    "annual_salary": "50k–99k",
    "account_purpose": "testing",
    "expected_monthly_volume": "under $1k",
}
"""The arguments of `submit_kyc`. The simulator decides by the last name."""


def example_application(**changes: str) -> KycApplication:
    """Return the data, with changes by argument name, as the body of POST /kyc/applications."""
    from machines_mcp.tools.kyc_arguments import SubmitKyc, application

    return application(SubmitKyc.model_validate({"user_id": "example", **IDENTITY, **changes}))
