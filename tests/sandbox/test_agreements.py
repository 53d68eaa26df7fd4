"""Agreements: accepted together, after KYC, once."""

from __future__ import annotations

import pytest

from tests.support.sandbox_caller import KYC_SCOPES, SandboxClient


def test_agreements_require_kyc(partner: SandboxClient) -> None:
    token = partner.session(partner.new_user(), *KYC_SCOPES)
    assert partner.call("GET", "/agreements", token=token).error == (409, "invalid_state", None)
    assert partner.call("POST", "/agreements", {"accepted": True}, token=token).error == (409, "invalid_state", None)


def test_acceptance_is_visible_everywhere_and_keeps_its_first_time(partner: SandboxClient) -> None:
    token = partner.session(partner.approved_user(), *KYC_SCOPES)
    before = partner.call("GET", "/agreements", token=token).data
    assert (before["accepted"], before["acceptedAt"]) == (False, None)
    assert len(before["agreements"]) == 3
    assert partner.call("GET", "/kyc/status", token=token).data["isTermsOfServiceAccepted"] is False
    accepted = partner.call("POST", "/agreements", {"accepted": True}, token=token).data
    assert accepted["accepted"] is True
    assert partner.call("POST", "/agreements", {"accepted": True}, token=token).data == accepted
    assert partner.call("GET", "/agreements", token=token).data == accepted
    assert partner.call("GET", "/kyc/status", token=token).data["isTermsOfServiceAccepted"] is True


@pytest.mark.parametrize("value", [False, None, 1, "true"])
def test_values_other_than_true_are_rejected(partner: SandboxClient, value: object) -> None:
    token = partner.session(partner.approved_user(), *KYC_SCOPES)
    reply = partner.call("POST", "/agreements", {"accepted": value}, token=token)
    assert reply.error == (400, "invalid_request", "accepted")


def test_every_link_opens_a_page_of_the_sandbox(partner: SandboxClient) -> None:
    token = partner.session(partner.approved_user(), *KYC_SCOPES)
    for agreement in partner.call("GET", "/agreements", token=token).data["agreements"]:
        for link in agreement["links"]:
            page = partner.raw("GET", link["url"].removeprefix(partner.sandbox.origin))
            assert page.status_code == 200
            assert link["label"] in page.text
