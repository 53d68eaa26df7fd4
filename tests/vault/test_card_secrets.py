from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.reply import Code, VaultReply, failed, reply_line
from machines_mcp.vault.request import VaultRequest
from machines_mcp.vault.sinks import reveal
from tests.support.card_numbers import card_number
from tests.support.vault_cards import new_key, seal
from tests.support.waiting import PATIENCE
from tests.vault.upstream import CARD_ID, StubUpstream, as_json, serve

pytestmark = pytest.mark.anyio

SECRETS = f"/cards/{CARD_ID}/secrets"


@pytest.fixture
def upstream() -> Iterator[StubUpstream]:
    with serve(StubUpstream()) as served:
        yield served


def _request(upstream: StubUpstream, **changes: Any) -> VaultRequest:
    fields: dict[str, Any] = {
        "base_url": upstream.base_url,
        "partner_key": Secret("key-under-test"),
        "user_id": "user-1",
        "card_id": CARD_ID,
        "last4": upstream.last4,
        "sink": "none",
        "deadline_seconds": PATIENCE,
    }
    return VaultRequest(**fields | changes)


async def _code(upstream: StubUpstream, **changes: Any) -> Code:
    with anyio.fail_after(PATIENCE):
        reply = await reveal(_request(upstream, **changes))
    assert reply == failed(reply.code)
    return reply.code


async def test_a_valid_card_is_verified(upstream: StubUpstream) -> None:
    with anyio.fail_after(PATIENCE):
        assert await reveal(_request(upstream)) == VaultReply(
            status="verified",
            code="verified",
            sink="none",
            brand="VISA",
            last4=upstream.last4,
            expiration_month=12,
            expiration_year=2031,
        )


async def test_the_session_only_reads_card_secrets_and_lasts_a_minute(upstream: StubUpstream) -> None:
    with anyio.fail_after(PATIENCE):
        await reveal(_request(upstream))
    paths = [path for path, _, _ in upstream.seen]
    assert paths == ["/sessions", "/cards/secrets/session", SECRETS]
    _, headers, body = upstream.seen[0]
    assert headers["x-partner-key"] == "key-under-test"
    assert (body["scopes"], body["ttlSeconds"], body["userId"]) == (["cards.secrets.read"], 60, "user-1")
    for _, headers, _ in upstream.seen[1:]:
        assert headers["authorization"] == "Bearer token-of-the-vault"
    assert upstream.seen[2][2] == {"sessionId": "secrets-session-1"}


@pytest.mark.parametrize(
    ("sent", "told"),
    [("Visa", "VISA"), (None, None), ("4 8 15 16 23 42", None), ("VISA\n", None), ("V" * 21, None)],
)
async def test_only_a_plausible_brand_is_reported(upstream: StubUpstream, sent: str | None, told: str | None) -> None:
    upstream.change_secrets(brand=sent)
    with anyio.fail_after(PATIENCE):
        reply = await reveal(_request(upstream))
    assert (reply.code, reply.brand) == ("verified", told)


async def test_a_card_without_optional_fields_is_verified(upstream: StubUpstream) -> None:
    upstream.change_secrets(brand=None, last4=None, keyId=None)
    with anyio.fail_after(PATIENCE):
        assert (await reveal(_request(upstream))).status == "verified"


async def test_another_cards_record_is_a_mismatch(upstream: StubUpstream) -> None:
    other = str((int(upstream.last4) + 1) % 10_000).zfill(4)
    assert await _code(upstream, last4=other) == "secrets.mismatch"
    upstream.change_secrets(last4=other)
    assert await _code(upstream) == "secrets.mismatch"


async def test_another_cards_number_is_a_mismatch(upstream: StubUpstream) -> None:
    stranger = next(number for number in iter(card_number, "") if number[-4:] != upstream.last4)
    upstream.change_secrets(**upstream.sealed(stranger, upstream.code))
    assert await _code(upstream) == "secrets.mismatch"


@pytest.mark.parametrize(
    "change", [{"userId": "user-2"}, {"scopes": ["cards.secrets.read", "withdrawals.write"]}, {"scopes": None}], ids=str
)
async def test_another_users_or_a_wider_session_is_not_used(upstream: StubUpstream, change: dict[str, Any]) -> None:
    upstream.change("/sessions", **change)
    code = await _code(upstream)
    assert code == ("partner.rejected" if change == {"scopes": None} else "secrets.mismatch")
    assert [path for path, _, _ in upstream.seen] == ["/sessions"]


async def test_secrets_of_another_session_fail_authentication(upstream: StubUpstream) -> None:
    upstream.change("/cards/secrets/session", secretKey=new_key())
    assert await _code(upstream) == "secrets.unauthentic"


async def test_swapped_number_and_code_are_malformed(upstream: StubUpstream) -> None:
    upstream.change_secrets(**upstream.sealed(upstream.code, upstream.number))
    assert await _code(upstream) == "secrets.malformed"


async def test_an_invalid_code_is_malformed(upstream: StubUpstream) -> None:
    upstream.change_secrets(encryptedCvc=as_json(seal(upstream.key, b"12345")))
    assert await _code(upstream) == "secrets.malformed"


async def test_a_key_of_another_length_is_malformed(upstream: StubUpstream) -> None:
    upstream.change("/cards/secrets/session", secretKey=upstream.key[:30])
    assert await _code(upstream) == "secrets.malformed"


@pytest.mark.parametrize(
    "expiry", [{"expirationMonth": 13}, {"expirationMonth": 0}, {"expirationYear": 20311231}], ids=str
)
async def test_an_invalid_expiry_is_malformed(upstream: StubUpstream, expiry: dict[str, int]) -> None:
    upstream.change_secrets(**expiry)
    assert await _code(upstream) == "secrets.malformed"


async def test_a_trace_of_a_hostile_upstream_has_shapes_but_no_values(upstream: StubUpstream, tmp_path: Path) -> None:
    hostile = {upstream.number: upstream.code, upstream.code: [upstream.number], "pan": upstream.number}
    for path in upstream.answers:
        upstream.change(path, **hostile)
    trace = tmp_path / "trace"
    with anyio.fail_after(PATIENCE):
        assert (await reveal(_request(upstream, trace=str(trace)))).status == "verified"
    lines = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    # Both are numbers of any value.
    assert [(line.pop("status"), line.pop("ms") >= 0) for line in lines] == [(200, True)] * 3
    assert [line["path"] for line in lines] == ["/sessions", "/cards/secrets/session", "/cards/{cardId}/secrets"]
    assert lines[2]["response"]["data"]["encryptedPan"] == {"data": "string", "iv": "string"}
    secrets = [upstream.number, upstream.code, upstream.key, "token-of-the-vault", "key-under-test"]
    others = ["session-1", "secrets-session-1", "user-1", CARD_ID, upstream.last4]
    assert [value for value in [*secrets, *others] if value in json.dumps(lines)] == []


def _refusal(code: str) -> bytes:
    return json.dumps({"ok": False, "summary": "no", "errors": [{"code": code, "message": "no"}]}).encode()


@pytest.mark.parametrize(
    ("path", "status", "body", "code"),
    [
        (SECRETS, 404, _refusal("not_found"), "card.not_found"),
        ("/sessions", 404, _refusal("not_found"), "partner.rejected"),
        ("/sessions", 401, _refusal("unauthorized"), "partner.rejected"),
        ("/sessions", 409, _refusal("kyc_required"), "partner.rejected"),
        ("/cards/secrets/session", 403, _refusal("forbidden"), "partner.rejected"),
        (SECRETS, 400, _refusal("invalid_request"), "partner.rejected"),
        (SECRETS, 200, b"<html>", "partner.rejected"),
        (SECRETS, 200, b'{"ok":true,"data":{},"summary":"","errors":[]}', "partner.rejected"),
        (SECRETS, 302, b"", "partner.rejected"),
        (SECRETS, 429, _refusal("slow_down"), "partner.unavailable"),
        (SECRETS, 500, _refusal("internal"), "partner.unavailable"),
    ],
)
async def test_every_upstream_refusal_maps_to_one_code(
    upstream: StubUpstream, path: str, status: int, body: bytes, code: Code
) -> None:
    upstream.answers[path] = status, body
    assert await _code(upstream) == code


async def test_a_card_number_in_every_upstream_field_stays_out_of_the_reply(upstream: StubUpstream) -> None:
    upstream.change_secrets(brand=upstream.number, keyId=upstream.number, pan=upstream.number, cvc=upstream.code)
    with anyio.fail_after(PATIENCE):
        line = reply_line(await reveal(_request(upstream))).decode()
    assert upstream.number not in line
    assert upstream.number in str(upstream.answers)
