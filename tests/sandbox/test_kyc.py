"""KYC: the form, its nine statuses, and the links a user follows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.sandbox_caller import KYC_SCOPES, SandboxClient, example, kyc_form

EN_DASH = "\N{EN DASH}"
STATUSES = ("pending", "manual_review", "needs_information", "needs_verification", "approved", "denied", "locked")


def submit(partner: SandboxClient, **changes: object) -> Any:
    token = partner.session(partner.new_user(), *KYC_SCOPES)
    return partner.call("POST", "/kyc/applications", kyc_form(**changes), token=token)


def test_values_are_the_documented_ones(partner: SandboxClient) -> None:
    data = partner.call("GET", "/kyc/values", token=partner.session(partner.new_user(), "kyc.read")).data
    assert data["annualSalary"] == ["<40k", f"50k{EN_DASH}99k", f"100k{EN_DASH}149k", "150k+"]
    assert data["expectedMonthlyVolume"] == ["under $1k", f"$1k{EN_DASH}$5k", f"$5k{EN_DASH}$20k", "$20k+"]
    assert data["accountPurpose"] == ["everyday spend", "subscriptions", "business expenses", "testing", "other"]
    fields = {field["name"]: field for field in data["fields"]}
    assert set(fields) == set(kyc_form())
    assert {name for name, field in fields.items() if not field["required"]} == {"phoneCountryCode", "phoneNumber"}
    assert fields["nationalId"]["regex"] == "^[0-9A-Za-z-]+$"
    assert fields["annualSalary"]["enum"] == data["annualSalary"]
    codes = {occupation["code"] for occupation in data["occupations"]}
    assert {"11-1021", "15-1132", "41-9011", "49-3023", "SELFEMP", "UNEMPLO", "RETIRED", "OTHERXX"} <= codes


@pytest.mark.parametrize("last_name", ["approved", "Approved", "TestApproved", "un-APPROVED-yet"])
def test_magic_last_name_is_approved_immediately(partner: SandboxClient, last_name: str) -> None:
    reply = submit(partner, lastName=last_name)
    assert reply.data["status"] == "approved"
    assert reply.data["isActive"] is True
    assert "next" not in reply.body
    assert reply.body["summary"] == "kyc submitted"


@pytest.mark.parametrize("name", ["annualSalary", "expectedMonthlyVolume", "accountPurpose", "occupation"])
def test_every_listed_value_is_accepted(partner: SandboxClient, name: str) -> None:
    values = partner.call("GET", "/kyc/values", token=partner.session(partner.new_user(), "kyc.read")).data
    listed = [item["code"] for item in values["occupations"]] if name == "occupation" else values[name]
    for value in listed:
        assert submit(partner, **{name: value}).status == 200


def test_only_optional_fields_may_be_omitted(partner: SandboxClient) -> None:
    address = {name: value for name, value in kyc_form()["address"].items() if name != "line2"}
    assert submit(partner, phoneCountryCode=..., phoneNumber=..., address=address).status == 200
    for name in set(kyc_form()) - {"phoneCountryCode", "phoneNumber"}:
        reply = submit(partner, **{name: ...})
        assert reply.error == (400, "invalid_request", name)
        assert reply.message == "missing required field"
    for name in address:
        partial = {key: value for key, value in address.items() if key != name}
        assert submit(partner, address=partial).error == (400, "invalid_request", f"address.{name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("firstName", "x" * 51),
        ("firstName", ""),
        ("lastName", "approved" * 7),
        ("birthDate", "31-01-1990"),
        ("birthDate", "1990-02-30"),
        ("birthDate", "1990-1-2"),
        ("birthDate", "2990-01-02"),
        ("birthDate", "1890-01-02"),
        ("birthDate", "1990-01-31T00:00:00Z"),
        ("nationalId", "12 34"),
        ("nationalId", "12_34"),
        ("nationalId", "1234\n"),
        ("countryOfIssue", "USA"),
        ("countryOfIssue", "U1"),
        ("countryOfIssue", "ZZ"),
        ("countryOfIssue", "UK"),
        ("email", "nobody"),
        ("email", "nobody@nowhere"),
        ("email", "no body@example.com"),
        ("phoneCountryCode", "+1"),
        ("phoneCountryCode", "1234"),
        ("phoneNumber", "5" * 16),
        ("phoneNumber", "555-0100"),
        ("occupation", "99-9999"),
        ("annualSalary", "50k-99k"),
        ("annualSalary", "50000-75000"),
        ("expectedMonthlyVolume", "$1k-$5k"),
        ("accountPurpose", "Testing"),
        ("address", "1 Test Street"),
    ],
)
def test_invalid_field_is_rejected_by_name_without_its_value(partner: SandboxClient, name: str, value: str) -> None:
    reply = submit(partner, **{name: value})
    assert reply.error == (400, "invalid_request", name)
    assert value == "" or value not in json.dumps(reply.body, ensure_ascii=False)


@pytest.mark.parametrize("country", ["us", "US", "uS"])
def test_country_codes_are_case_insensitive(partner: SandboxClient, country: str) -> None:
    assert submit(partner, countryOfIssue=country).status == 200


def test_status_before_any_application_is_not_started(partner: SandboxClient) -> None:
    data = partner.call("GET", "/kyc/status", token=partner.session(partner.new_user(), "kyc.read")).data
    assert data["status"] == "not_submitted"
    assert data["isActive"] is None


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_has_its_link_and_poll_hint(partner: SandboxClient, status: str) -> None:
    user_id = partner.new_user()
    token = partner.session(user_id, "kyc.read")
    partner.control("/kyc", {"userId": user_id, "decision": status})
    reply = partner.call("GET", "/kyc/status", token=token)
    assert reply.data["status"] == status
    assert bool(reply.data["completionLink"]) == (status == "needs_verification")
    assert bool(reply.data["externalVerificationLink"]) == (status == "needs_information")
    waiting = status in ("pending", "manual_review", "needs_information", "needs_verification")
    assert ("next" in reply.body) == waiting
    assert reply.data["isActive"] == (status == "approved")


@pytest.mark.parametrize("status", ["not_submitted", *STATUSES, "canceled"])
def test_only_an_application_that_waits_for_the_user_can_be_resubmitted(partner: SandboxClient, status: str) -> None:
    user_id = partner.new_user()
    token = partner.session(user_id, *KYC_SCOPES)
    if status != "not_submitted":
        partner.control("/kyc", {"userId": user_id, "decision": status})
    reply = partner.call("POST", "/kyc/applications", kyc_form(lastName="Smith"), token=token)
    if status in ("not_submitted", "needs_information", "needs_verification"):
        assert reply.data["status"] == "needs_verification"
    else:
        assert reply.error == (409, "invalid_state", None)


def test_form_data_is_neither_returned_nor_stored(own_sandbox: SandboxClient) -> None:
    """The control API returns everything stored about users. None of the example's values appears in it."""
    reply = submit(own_sandbox, lastName="Smith")
    seen = json.dumps([reply.body, own_sandbox.control("")])
    form = example("submitKycApplication")["body"]
    for value in (form["firstName"], form["nationalId"], form["email"], form["address"]["line1"], "Smith"):
        assert f'"{value}"' not in seen
