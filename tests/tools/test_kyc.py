"""The KYC tools."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from machines_mcp.tools.kyc_arguments import IDENTITY, field_words
from machines_mcp.tools.kyc_status import MEANINGS
from tests.support.stdio_client import applicant
from tests.support.tool_caller import caller
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


async def test_words_find_an_occupation_code(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        for words, code in (("developer", "15-1132"), ("software DEVELOPERS", "15-1132"), ("49-3023", "49-3023")):
            found = await c.call("get_kyc_requirements", occupation_query=words)
            assert code in [o["code"] for o in found["occupations"]], words
        assert (await c.call("get_kyc_requirements", occupation_query="zzzz"))["occupations"] == []
        assert found["occupations_total"] > 30
        # A query is answered alone: the rules of the fields would cost the model a thousand tokens each time.
        assert "fields" not in found
        assert (await c.call("get_kyc_requirements"))["fields"]


async def test_the_rules_of_countries_and_the_occupation_say_what_to_send(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        rules = {field["name"]: field.get("rule") for field in (await c.call("get_kyc_requirements"))["fields"]}
    assert rules["country_of_issue"] == rules["address_country_code"] == "two letters, ISO 3166-1"
    assert rules["occupation"] == "a code from occupations"
    assert rules["annual_salary"].startswith("one of: ")
    assert "string" not in rules.values()


async def test_hyphen_in_a_range_means_the_apis_en_dash(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        data = applicant() | {"annual_salary": "50k-99k", "expected_monthly_volume": "$1k-$5k"}
        assert (await c.call("submit_kyc", **data))["status"] == "approved"


async def test_values_the_api_would_reject_are_named_by_field(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        for field, value in (("birth_date", "1990-13-01"), ("occupation", "00-0000"), ("country_of_issue", "ZZZ")):
            error = await c.call("submit_kyc", **applicant() | {field: value})
            assert error["code"] == "input.invalid", error
            assert [fault["field"] for fault in error["fields"]] == [field]
            assert value not in str(error)
        assert (await c.call("get_kyc_status"))["status"] == "not_submitted"


async def test_wait_ends_when_the_user_finishes_the_hosted_page(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        handed_in = await c.call("submit_kyc", **applicant("Tester"))
        assert handed_in["status"] == "needs_verification"
        assert handed_in["next_steps"][0]["tool"] == "get_kyc_status"
        standing = await c.call("get_kyc_status")
        link = standing["verification_link"]
        assert link.startswith("http://127.0.0.1:")
        step = standing["next_steps"][0]
        assert (step["tool"], "verification_link" in step["why"]) == ("get_kyc_status", True)
        # The outcome of the approved call is stored without the link, because the link may open the page without
        # further checks.
        stored = b"".join(file.read_bytes() for file in (tmp_path / "embedded").glob("state.db*"))
        assert b"needs_verification" in stored
        assert link.rsplit("/", 1)[1].encode() not in stored

        waited: list[dict[str, object]] = []
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:

                async def wait() -> None:
                    waited.append(await c.call("get_kyc_status", wait_seconds=15))

                tasks.start_soon(wait)
                await c.control("/kyc", userId="tool-user", decision="approved")
        assert waited[0]["status"] == "approved" and "verification_link" not in waited[0]


async def test_wait_without_a_change_says_when_to_ask_again(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.call("submit_kyc", **applicant("Tester"))
        waited = await c.call("get_kyc_status", wait_seconds=1)
        assert (waited["status"], waited["still_waiting"]) == ("needs_verification", True)
        assert waited["poll_after_seconds"] > 0


async def test_every_status_has_a_meaning_and_a_next_step(tmp_path: Path) -> None:
    after = {"approved": "get_agreements"} | dict.fromkeys(("denied", "locked", "canceled"))
    async with caller(tmp_path) as c:
        await c.call("submit_kyc", **applicant("Tester"))
        for status in MEANINGS.keys() - {"not_submitted"}:
            await c.control("/kyc", userId="tool-user", decision=status)
            found = await c.call("get_kyc_status")
            assert (found["status"], found["meaning"]) == (status, MEANINGS[status])
            steps = [step["tool"] for step in found["next_steps"]]
            expected = after.get(status, "get_kyc_status")
            assert steps == ([expected] if expected else []), status


def test_the_fields_are_named_as_a_person_reads_them() -> None:
    names = [field_words(name) for name in sorted(IDENTITY)]
    assert {"address line 1", "national ID", "first name"} <= set(names)
    assert not [name for name in names if re.search(r"_|[a-z]\d|\bid\b", name)]
