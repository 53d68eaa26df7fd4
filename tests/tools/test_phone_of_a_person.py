"""A phone number is asked of a person as a whole: its calling code and its number."""

from __future__ import annotations

import itertools

import pytest

from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.errors import ToolError
from machines_mcp.tools.kyc import submit_kyc
from tests.support.stdio_client import applicant

PHONE = {"phone_country_code": "44", "phone_number": "2079460958"}


@pytest.mark.parametrize("given", [*itertools.chain(*(itertools.combinations(PHONE, n) for n in range(3)))], ids=str)
@pytest.mark.parametrize("absent", [None, "", "null"], ids=repr)
def test_a_phone_number_is_whole_or_absent(given: tuple[str, ...], absent: str | None) -> None:
    missing = [name for name in PHONE if name not in given]
    arguments = applicant() | {name: PHONE[name] for name in given} | dict.fromkeys(missing, absent)
    if len(missing) != 1:
        validate(submit_kyc, arguments, "user-1")
        return
    with pytest.raises(ToolError) as error:
        validate(submit_kyc, arguments, "user-1")
    (fault,) = error.value.fields
    assert (fault.field, fault.rule.startswith("is missing")) == (missing[0], True)
