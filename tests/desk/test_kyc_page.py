"""Test the identity form: its fields, its validation, and where the values go."""

from __future__ import annotations

import html
import logging
import re
from pathlib import Path

import pytest
from iso3166 import countries

from machines_mcp.desk.dependencies import FormResult
from machines_mcp.partner.errors import TimedOut
from machines_mcp.partner.formats.occupations import SYNONYMS
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.sandbox.kyc_form import OCCUPATIONS
from tests.support.card_numbers import card_number
from tests.support.running_desk import PASSPHRASE, FakeBrowser, RunningDesk, browser, forms, identity_form, kyc_values

pytestmark = pytest.mark.anyio

# Every value is distinct, so a search for one finds only that value.
TYPED = {
    "first_name": "Zyxgrace",
    "last_name": "Zyxhopper",
    "birth_date": "1906-12-09",
    "national_id": "ZYX-1906-77",
    "country_of_issue": "US",
    "email": "zyx.grace@example.com",
    "address_line1": "77 Zyx Harbor Road",
    "address_city": "Zyxlington",
    "address_region": "ZV",
    "address_postal_code": "Z2201",
    "address_country_code": "US",
    "occupation": "15-1132",
    "annual_salary": "50k–99k",
    "account_purpose": "testing",
    "expected_monthly_volume": "under $1k",
}


async def open_form_approval(desk: RunningDesk) -> Approval:
    return await desk.ask(ActionClass.IDENTITY, identity_form(), tool="submit_kyc")


async def test_the_form_has_the_fields_and_lists_of_the_api_schema(desk: RunningDesk, person: FakeBrowser) -> None:
    desk.partner.values = kyc_values({"name": "taxResidence", "required": False, "type": "string"})
    approval = await open_form_approval(desk)
    page = (await person.get(f"/kyc/{approval.id}")).text
    fields = forms(page)[f"/kyc/{approval.id}"]
    assert fields.keys() >= TYPED.keys() - {"occupation"} | {
        "address_line2",
        "phone_number",
        "tax_residence",
        "passphrase",
    }
    assert '<option value="50k–99k">' in page
    assert 'type="date"' in page and 'autocomplete="family-name"' in page and 'autocomplete="postal-code"' in page
    assert page.count("(optional)") == 4


async def test_submitted_values_reach_the_tool_once_without_extras(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    form = forms(person.page)[path] | TYPED | {"passphrase": PASSPHRASE, "action": "send", "address_line2": " "}
    sent = await person.post(path, form)
    assert (sent.status_code, person.led_to(sent)) == (303, path)
    assert "Sent to Machines" in (await person.get(path)).text
    assert desk.partner.sent == [TYPED]
    assert await desk.state(approval) == "executing"
    again = await person.post(path, form)
    assert again.status_code == 303
    assert desk.partner.sent == [TYPED]
    assert "no longer open" in (await person.get(path)).text


async def test_countries_and_occupations_are_lists_with_other_words(desk: RunningDesk, person: FakeBrowser) -> None:
    jobs = [{"code": code, "label": label} for code, label in OCCUPATIONS.items()]
    desk.partner.values = kyc_values(occupations=jobs)
    approval = await open_form_approval(desk)
    page = html.unescape((await person.get(f"/kyc/{approval.id}")).text)
    lists = dict(re.findall(r'<select id="(\w+)" name="\w+" data-search(.*?)</select>', page, re.DOTALL))
    assert lists.keys() == {"country_of_issue", "address_country_code", "occupation"}
    assert lists["occupation"].count("<option") == 1 + len(OCCUPATIONS) == 49
    for code, label in OCCUPATIONS.items():
        assert re.search(f'<option value="{code}"[^>]*>{re.escape(label)}</option>', lists["occupation"]), code
    assert re.search('<option value="29-1062" data-words="[^"]*doctor', lists["occupation"])
    for name in ("country_of_issue", "address_country_code"):
        assert lists[name].count("<option") == 1 + len(countries) and re.search(
            '<option value="GB" data-words="[^"]*UK', lists[name]
        )


async def test_a_card_number_in_an_occupation_is_masked(desk: RunningDesk, person: FakeBrowser) -> None:
    number = card_number()
    jobs = [{"code": "49-3023", "label": f"Mechanic {number}"}]
    desk.partner.values = kyc_values(occupations=jobs)
    approval = await open_form_approval(desk)
    text = (await person.get(f"/kyc/{approval.id}")).text
    assert f"Mechanic •••• {number[-4:]}" in text
    assert number not in text


def test_each_occupation_has_other_words() -> None:
    assert set(SYNONYMS) == set(OCCUPATIONS)


async def test_the_form_shows_nothing_of_the_operators_desk(desk: RunningDesk, person: FakeBrowser) -> None:
    await desk.ask(digest="other")
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    shown = [(await person.get(path)).text]
    shown.append((await person.post(path, TYPED | {"passphrase": PASSPHRASE, "email": "no"})).text)
    await person.post(path, TYPED | {"passphrase": PASSPHRASE})
    shown.append((await person.get(path)).text)
    for page in shown:
        assert "<nav" not in page and "Freeze" not in page and "Sign out" not in page and "/decisions/" not in page
        assert "user-1" not in page and "$120.50" not in page
    assert ["data-left" in page for page in shown] == [True, True, False]


async def test_an_expired_form_keeps_what_was_typed_for_the_next_request(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    first = await open_form_approval(desk)
    path = f"/kyc/{first.id}"
    await person.get(path)
    desk.clock.advance(15 * 60 + 1)
    typed = TYPED | {"passphrase": PASSPHRASE}
    for _ in range(2):
        answer = await person.post(path, typed)
        assert (answer.status_code, "has expired, so nothing was sent" in answer.text) == (409, True)
        kept = forms(answer.text)[path]
        assert {name: kept[name] for name in TYPED} == TYPED and kept["passphrase"] == ""
    await desk.ask(ActionClass.IDENTITY, identity_form(), tool="submit_kyc", user_id="user-2", digest="2")
    second = await desk.ask(ActionClass.IDENTITY, identity_form(), tool="submit_kyc", digest="3")
    answer = await person.post(path, typed)
    assert (answer.status_code, "There is a new one" in answer.text) == (409, True)
    assert desk.partner.sent == []
    renewed = f"/kyc/{second.id}"
    kept = forms(answer.text)[renewed]
    assert {name: kept[name] for name in TYPED} == TYPED
    assert (await person.post(renewed, kept | {"passphrase": PASSPHRASE})).status_code == 303
    assert desk.partner.sent == [TYPED]
    assert "This form has expired" in (await person.get(path)).text


async def test_a_form_whose_session_ended_keeps_what_was_typed(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    person.http.cookies.clear()
    typed = TYPED | {"last_name": '"><b>Zyx'}
    answer = await person.post(path, typed | {"passphrase": PASSPHRASE})
    assert (answer.status_code, "The desk is locked" in answer.text) == (401, True)
    assert {name: forms(answer.text)[path][name] for name in TYPED} == typed
    assert forms(answer.text)[path]["passphrase"] == "" and "<b>Zyx" not in answer.text
    for wrong, status in (("", 422), ("not this one", 403)):
        answer = await person.post(path, {"passphrase": wrong})
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, False)
        assert {name: forms(answer.text)[path][name] for name in TYPED} == typed
    desk.clock.advance(61)  # past the delay after a wrong passphrase
    answer = await person.post(path, {"passphrase": PASSPHRASE})
    assert (answer.status_code, "This desk was locked meanwhile, so nothing was sent" in answer.text) == (409, True)
    assert "HttpOnly; SameSite=Strict" in answer.headers["set-cookie"]
    kept = forms(answer.text)[path]
    assert {name: kept[name] for name in TYPED} == typed and kept["passphrase"] == ""
    assert desk.partner.sent == [] and await desk.state(approval) == "waiting"
    assert (await person.post(path, TYPED | {"passphrase": PASSPHRASE})).status_code == 303
    assert desk.partner.sent == [TYPED]


async def test_a_form_of_an_earlier_session_is_shown_again_in_the_new_one(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    old = (await person.get(path)).text
    person.http.cookies.clear()
    await person.sign_in()
    person.page = old
    answer = await person.post(path, TYPED | {"passphrase": PASSPHRASE})
    assert answer.status_code == 409 and desk.partner.sent == []
    assert (await person.post(path, forms(answer.text)[path] | {"passphrase": PASSPHRASE})).status_code == 303
    assert desk.partner.sent == [TYPED]


async def test_a_form_that_expired_while_the_desk_was_locked_keeps_what_was_typed(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    desk.clock.advance(31 * 60)
    person.http.cookies.clear()
    await person.post(path, TYPED)
    answer = await person.post(path, {"passphrase": PASSPHRASE})
    assert (answer.status_code, "has expired, so nothing was sent" in answer.text) == (409, True)
    assert {name: forms(answer.text)[path][name] for name in TYPED} == TYPED
    second = await desk.ask(ActionClass.IDENTITY, identity_form(), tool="submit_kyc", digest="2")
    answer = await person.post(path, {"passphrase": PASSPHRASE})
    renewed = forms(answer.text)[f"/kyc/{second.id}"]
    assert (await person.post(f"/kyc/{second.id}", renewed | {"passphrase": PASSPHRASE})).status_code == 303
    assert desk.partner.sent == [TYPED]


async def test_the_simulators_form_of_an_earlier_desk_is_shown_again(simulated: RunningDesk) -> None:
    async with browser(simulated) as person:
        approval = await open_form_approval(simulated)
        path = f"/kyc/{approval.id}"
        await person.get(path)
        person.http.cookies.clear()
        answer = await person.post(path, TYPED | {"token": "of another desk"})
        assert (answer.status_code, forms(answer.text)[path]["last_name"]) == (409, "Zyxhopper")
        assert simulated.partner.sent == []
        assert (await person.post(path)).status_code == 303
        assert simulated.partner.sent == [TYPED]


async def test_a_form_of_another_page_is_not_taken_up(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    answer = await person.post(path, TYPED, Origin="http://evil.example")
    assert answer.status_code == 403 and "Zyx" not in answer.text
    answer = await person.http.post(person.home + path, data=TYPED, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403 and "Zyx" not in answer.text


async def test_a_form_during_a_freeze_says_why_it_is_not_sent_and_keeps_the_input(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get()
    assert (await person.post("/freeze")).status_code == 303
    await person.get(path)
    answer = await person.post(path, TYPED | {"passphrase": PASSPHRASE})
    assert (answer.status_code, "Changes are frozen" in answer.text) == (409, True)
    assert forms(answer.text)[path]["last_name"] == "Zyxhopper"
    assert desk.partner.sent == [] and await desk.state(approval) == "waiting"


async def test_a_refused_form_says_so(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    await desk.guard.approvals.refuse(approval.id, "desk")
    assert (await person.post(path, TYPED | {"passphrase": PASSPHRASE})).status_code == 303
    assert "no longer open" in (await person.get(path)).text
    assert "This request was refused" in (await person.get(path)).text
    assert desk.partner.sent == []


async def test_a_withdrawn_form_says_so(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    await desk.guard.approvals.refusals.withdraw(approval.id)
    assert (await person.post(path, TYPED | {"passphrase": PASSPHRASE})).status_code == 303
    page = (await person.get(path)).text
    assert "This request was withdrawn" in page and "Nothing was sent" in page
    assert desk.partner.sent == []


async def test_a_withdrawn_form_keeps_what_was_typed_for_the_next_request(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    approval = await open_form_approval(desk)
    await person.get(path := f"/kyc/{approval.id}")
    await desk.guard.approvals.refusals.withdraw(approval.id)
    renewed = await open_form_approval(desk)
    answer = await person.post(path, TYPED | {"passphrase": PASSPHRASE})
    assert (answer.status_code, "no longer open. There is a new one" in answer.text) == (409, True)
    assert forms(answer.text)[f"/kyc/{renewed.id}"]["last_name"] == "Zyxhopper"
    assert desk.partner.sent == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("first_name", "", "Enter the first name."),
        ("last_name", "x" * 51, "at most 50"),
        ("birth_date", "1990-02-30", "must be an ISO date"),
        ("birth_date", "2990-01-01", "must not be in the future"),
        ("birth_date", "19900101", "must be an ISO date"),
        ("national_id", "12 34/5", "Letters, digits and hyphens"),
        ("country_of_issue", "USA", "Choose the country of issue from the list."),
        ("country_of_issue", "UK", "from the list."),
        ("address_country_code", "", "Choose the country."),
        ("email", "grace@", "name@example.com"),
        ("phone_number", "+44 20 7946 0958", "must not start with a code other than"),
        ("phone_number", "123", "as many digits"),
        ("phone_country_code", "999", "calling code"),
        ("phone_number", "555-0100", "as many digits"),
        ("phone_number", "", "Enter the phone number"),
        ("occupation", "00-0000", "from the list"),
        ("occupation", "", "Choose the occupation."),
        ("annual_salary", "1k", "Choose the annual income from the list."),
        ("address_city", "a\u202eb", "not in the right format"),
    ],
)
async def test_a_field_error_appears_at_its_field_and_costs_no_attempt(
    desk: RunningDesk, person: FakeBrowser, name: str, value: str, says: str
) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    phone = {"phone_country_code": "1", "phone_number": "4155550100"} if name.startswith("phone") else {}
    typed = TYPED | phone | {"passphrase": "wrong wrong wrong", "action": "send", name: value}
    answer = await person.post(path, typed)
    assert answer.status_code == 422
    assert "One field needs to be corrected" in answer.text
    assert says in answer.text
    assert f'id="f-{name}"' in answer.text and f'href="#{name}"' in answer.text
    assert "wrong wrong" not in answer.text
    kept = forms(answer.text)[path]
    assert {k: v for k, v in kept.items() if k in TYPED and k != name} == {k: v for k, v in TYPED.items() if k != name}
    assert await desk.guard.passphrase.tries.wait("desk") == 0 and await desk.state(approval) == "waiting"
    assert desk.partner.sent == []


async def test_a_field_error_from_the_tool_appears_at_its_field(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    desk.partner.answer = FormResult("faulty", (("address_city", "must have at most 100 characters"),), "Mend it.")
    answer = await person.post(path, TYPED | {"passphrase": PASSPHRASE, "action": "send"})
    assert answer.status_code == 422 and "City must have at most 100 characters." in answer.text
    desk.partner.answer = FormResult("faulty", (("tax_id", "is required"),), "The arguments don't fit.")
    answer = await person.post(path, TYPED | {"passphrase": PASSPHRASE, "action": "send"})
    assert answer.status_code == 422 and "The form was not sent" in answer.text and "don&#39;t fit" in answer.text
    assert await desk.state(approval) == "waiting"


async def test_a_wrong_passphrase_sends_nothing_and_keeps_the_input(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    for passphrase, status in (("", 422), ("not it at all", 403)):
        answer = await person.post(path, TYPED | {"passphrase": passphrase, "action": "send"})
        assert answer.status_code == status and 'id="f-passphrase"' in answer.text
        assert forms(answer.text)[path]["last_name"] == "Zyxhopper"
        assert forms(answer.text)[path]["passphrase"] == ""
    delayed = await person.post(path, TYPED | {"passphrase": PASSPHRASE, "action": "send"})
    assert (delayed.status_code, forms(delayed.text)[path]["last_name"]) == (429, "Zyxhopper")
    assert "Try again in 1 second." in delayed.text
    assert desk.partner.sent == [] and await desk.state(approval) == "waiting"


async def test_only_an_approval_that_needs_the_form_has_one(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    answer = await person.get(f"/kyc/{approval.id}")
    assert (answer.status_code, person.led_to(answer)) == (303, f"/decisions/{approval.id}")


async def test_an_unavailable_form_definition_is_reported(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    desk.partner.error = TimedOut()
    answer = await person.get(f"/kyc/{approval.id}")
    assert answer.status_code == 502 and "Try again" in answer.text


async def test_a_form_whose_definition_fails_later_keeps_what_was_typed(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    await person.get(path)
    desk.partner.error = TimedOut()
    answer = await person.post(path, TYPED | {"passphrase": PASSPHRASE, "email": "no"})
    assert answer.status_code == 422 and forms(answer.text)[path]["last_name"] == "Zyxhopper"


async def test_the_simulator_form_needs_no_passphrase(simulated: RunningDesk) -> None:
    approval = await open_form_approval(simulated)
    async with browser(simulated) as person:
        page = (await person.get(f"/kyc/{approval.id}")).text
        assert "Your passphrase" not in page and "a real person" in page
        assert (await person.post(f"/kyc/{approval.id}", TYPED | {"action": "send"})).status_code == 303
    assert simulated.partner.sent == [TYPED]


async def test_a_call_that_fails_after_approval_is_reported(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await open_form_approval(desk)
    await person.get(f"/kyc/{approval.id}")
    desk.partner.answer = FormResult("failed", (), "Machines did not accept the request; nothing was changed.")
    answer = await person.post(f"/kyc/{approval.id}", TYPED | {"passphrase": PASSPHRASE, "action": "send"})
    assert answer.status_code == 303
    assert "but the call failed. Machines did not accept" in (await person.get(person.led_to(answer))).text


async def test_form_values_appear_in_no_file_log_or_other_page(
    desk: RunningDesk, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    approval = await open_form_approval(desk)
    path = f"/kyc/{approval.id}"
    async with browser(desk) as person:
        await person.get(path)
        faulty = await person.post(path, TYPED | {"passphrase": PASSPHRASE, "action": "send", "email": "zyxnot"})
        assert "Zyxhopper" in faulty.text  # The control: the search finds the values in the form itself.
        assert (await person.post(path, TYPED | {"passphrase": PASSPHRASE, "action": "send"})).status_code == 303
        pages = [(await person.get(where)).text for where in ("/", path, f"/decisions/{approval.id}")]
    pages.append("".join(f"{k}: {v}" for k, v in faulty.headers.items()))
    await desk.guard.audit.flush()
    files = _all_files(tmp_path)
    written = files.decode("latin-1") + caplog.text + "".join(capfd.readouterr()) + "".join(pages)
    assert len(files) > 10_000 and "http" in caplog.text.lower()
    for value in ("zyx", "Zyx", "ZYX", "1906", PASSPHRASE):
        assert value not in written, value


def _all_files(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
