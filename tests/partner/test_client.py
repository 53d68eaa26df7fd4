from __future__ import annotations

import importlib
import logging
import re
import traceback
from pathlib import Path
from typing import Any

import anyio
import pytest

import machines_mcp.partner
from machines_mcp.partner import KycAddress, KycApplication, PartnerClient, errors
from machines_mcp.partner.request import Credential, Request
from machines_mcp.redaction.secret import Secret
from tests.support.partner_upstream import PARTNER_KEY, Answer, ScriptedUpstream, good, hang_up, http, refusal
from tests.support.waiting import PATIENCE

USER = "user-1"
CARD_SECRETS = {
    "encryptedPan": {"data": "canary+pan", "iv": "canary+iv"},
    "encryptedCvc": {"data": "canary+cvc", "iv": "canary+iv"},
    "expirationMonth": 1,
    "expirationYear": 2030,
}


def test_every_public_name_is_importable() -> None:
    source = Path(machines_mcp.partner.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    listed = re.findall(r"from (\S+) import \w+ as (\w+)", source)
    assert len(listed) > 40
    assert len(listed) == source.count("import")
    names = sorted(name for _, name in listed)
    assert names == getattr(machines_mcp.partner, "__all__") == dir(machines_mcp.partner)  # noqa: B009 - made at run time
    for module, name in listed:
        assert getattr(machines_mcp.partner, name) is getattr(importlib.import_module(module), name)


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError):
        getattr(machines_mcp.partner, "Nothing")  # noqa: B009 - the stub has no such name


@pytest.mark.parametrize("key", ["", "two words", "line\r\nX-Other: y", "schlüssel", "k" * 8193])
def test_key_unfit_for_a_header_is_rejected_without_quoting_it(key: str) -> None:
    with pytest.raises(ValueError, match=r"^the partner key must be visible ASCII without spaces$"):
        PartnerClient("https://api.machines.cash/partner/v1", Secret(key))


def test_unsupported_address_is_rejected_immediately() -> None:
    with pytest.raises(ValueError, match="base URL"):
        PartnerClient("http://api.machines.cash/partner/v1", Secret("key"))


@pytest.mark.anyio
@pytest.mark.parametrize("key", [PARTNER_KEY, Secret(PARTNER_KEY)], ids=["plain", "secret"])
async def test_plain_string_key_is_stored_as_a_secret(api: ScriptedUpstream, key: str | Secret) -> None:
    async with PartnerClient(api.base_url, key) as client:
        await client.sessions.open(USER, ["kyc.read"])
        kept = [part for thing in (client, client.sessions, client.users) for part in vars(thing).values()]
    assert api.mints[0].headers["x-partner-key"] == PARTNER_KEY
    assert PARTNER_KEY not in kept
    assert PARTNER_KEY not in repr(kept)


@pytest.mark.anyio
async def test_unused_client_opens_no_connection(api: ScriptedUpstream) -> None:
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY)):
        pass
    assert api.connections == 0


def test_requests_print_without_their_contents() -> None:
    application = KycApplication(
        first_name="Canary",
        last_name="Canary",
        birth_date="1990-01-01",
        national_id="canary",
        country_of_issue="US",
        email="canary@example.com",
        address=KycAddress(line1="Canary", city="Canary", region="Canary", postal_code="1", country_code="US"),
        occupation="49-3023",
        annual_salary="<40k",
        account_purpose="testing",
        expected_monthly_volume="$20k+",
    )
    shown = [
        application,
        application.address,
        [application],
        Request("POST", "/kyc/applications", body={"a": "canary"}),
    ]
    shown += [Credential("X-Partner-Key", Secret("canary"))]
    assert "canary" not in "".join(f"{thing} {thing!r}" for thing in shown).lower()


def all_text(error: BaseException) -> str:
    """Return all text of an exception that a logger, its traceback or its attributes would expose."""
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and one not in chain:
            chain.append(one)
            todo += [one.__cause__, one.__context__]
    return "".join(f"{one!r} {one} {one.args} {vars(one)}" for one in chain) + "".join(
        traceback.format_exception(error)
    )


ENDINGS: dict[str, Answer] = {
    "a refusal": refusal(400, "canary text", field="canary-field", message="canary"),
    "a conflict": refusal(409, "invalid_state", message="canary"),
    "a failure": refusal(500, message="canary"),
    "a redirect": http(302, b"canary", {"Location": "http://canary.example/?token=canary"}),
    "HTML": http(200, b"<html>canary</html>"),
    "wrong types": good({"cards": {"cardId": ["canary"], "status": "canary"}}),
    "a broken header": http(200, b"{}", {"Content-Length": "canary"}),
    "no answer": hang_up,
}


@pytest.mark.anyio
@pytest.mark.parametrize("answer", ENDINGS.values(), ids=ENDINGS)
async def test_no_error_or_log_contains_credentials_or_upstream_text(
    api: ScriptedUpstream, client: PartnerClient, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    api.on("GET", "/cards", answer)
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.PartnerError) as caught:
        with anyio.fail_after(PATIENCE):
            await client.cards.list(USER)
    said = all_text(caught.value)
    assert "canary" not in said
    assert PARTNER_KEY not in said
    # httpcore logs response headers at debug level, so upstream's own text may appear there. Our secrets may not.
    assert "httpcore.http11" in {record.name for record in caplog.records}
    assert PARTNER_KEY not in caplog.text
    assert "signature-canary" not in caplog.text


@pytest.mark.anyio
async def test_log_of_a_successful_call_contains_no_secrets_or_body(
    api: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    api.on("POST", "/cards/secrets/session", good({"sessionId": "canary", "secretKey": "canary"}))
    api.on("POST", "/cards/card-0001/secrets", good(CARD_SECRETS))
    shown: list[Any] = []
    with caplog.at_level(logging.DEBUG):
        async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, card_secrets=True) as client:
            session = await client.cards.secrets_session(USER)
            shown += [client, session, await client.cards.secrets(USER, "card-0001", session.session_id)]
            shown += [client.sessions, client.sessions.cached(USER), client.cards, vars(client)]
    said = caplog.text + "".join(f"{thing} {thing!r}" for thing in shown)
    assert "POST" in caplog.text
    assert "canary" not in said
    assert PARTNER_KEY not in said
