from __future__ import annotations

import json
from typing import Any

import pytest

from machines_mcp.vault.reply import VaultReply, clean_brand, failed, parse_reply, reply_line
from machines_mcp.vault.request import MAX_DEADLINE_SECONDS, VaultError, VaultRequest, parse_request

REQUEST = {
    "base_url": "http://127.0.0.1:9/partner/v1",
    "partner_key": "key-under-test",
    "user_id": "user-1",
    "card_id": "card-under-test",
    "last4": "0421",
    "sink": "none",
    "proxy": None,
    "ca_certificates": None,
    "deadline_seconds": 20.0,
}
VERIFIED = {
    "status": "verified",
    "code": "verified",
    "sink": "none",
    "brand": "VISA",
    "last4": "0421",
    "expiration_month": 12,
    "expiration_year": 2031,
}
FAILED = {**dict.fromkeys(VERIFIED), "status": "failed", "code": "card.not_found", "sink": "none"}


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def test_a_valid_request_is_parsed_with_its_key_hidden() -> None:
    request = parse_request(_line(REQUEST))
    assert request.partner_key.expose() == "key-under-test"
    assert "key-under-test" not in repr(request)


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"partner_key": ""},
        {"partner_key": 7},
        {"trace": 7},
        {"trace": "t" * 4097},
        {"user_id": ""},
        {"user_id": "u" * 121},
        {"card_id": "short"},
        {"card_id": "c" * 129},
        {"last4": "421"},
        {"last4": "04210"},
        {"last4": "0421\n"},
        {"last4": "٠٤٢١"},
        {"last4": 421},
        {"sink": "file"},
        {"sink": "page"},
        {"sink": "sealed"},
        {"with_code": True},
        {"may_copy": True},
        {"sink": None},
        {"base_url": "h" * 2049},
        {"deadline_seconds": 0},
        {"deadline_seconds": -1.0},
        {"deadline_seconds": MAX_DEADLINE_SECONDS + 1},
        {"deadline_seconds": float("inf")},
        {"deadline_seconds": float("nan")},
        {"deadline_seconds": "20"},
    ],
    ids=str,
)
def test_a_request_that_violates_the_schema_is_refused_without_values(change: dict[str, Any]) -> None:
    with pytest.raises(VaultError) as caught:
        parse_request(_line(REQUEST | change))
    assert caught.value.args == ("the vault's protocol was violated",)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("field", [name for name in REQUEST if name not in ("proxy", "ca_certificates")])
def test_a_request_with_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(VaultError):
        parse_request(_line({name: value for name, value in REQUEST.items() if name != field}))


def test_a_request_cannot_be_serialised_by_accident(request_to_closed_port: VaultRequest) -> None:
    with pytest.raises(Exception, match="can't be serialised"):
        request_to_closed_port.model_dump_json()


@pytest.mark.parametrize(
    "message", [VERIFIED, VERIFIED | {"brand": None}, FAILED], ids=["verified", "no brand", "failed"]
)
def test_a_valid_reply_round_trips(message: dict[str, Any]) -> None:
    assert parse_reply(_line(message)).model_dump() == message
    assert reply_line(parse_reply(_line(message))) == _line(message)


@pytest.mark.parametrize(
    "message",
    [
        VERIFIED | {"number": "4"},
        VERIFIED | {"status": "ok"},
        VERIFIED | {"code": "shown"},
        VERIFIED | {"sink": "page"},
        VERIFIED | {"brand": "Visa"},
        VERIFIED | {"brand": "VISA 0421"},
        VERIFIED | {"brand": ""},
        VERIFIED | {"brand": "V" * 21},
        VERIFIED | {"last4": "04210421"},
        VERIFIED | {"last4": "٠٤٢١"},
        VERIFIED | {"last4": None},
        VERIFIED | {"expiration_month": 0},
        VERIFIED | {"expiration_month": 13},
        VERIFIED | {"expiration_month": "12"},
        VERIFIED | {"expiration_month": 12.0},
        VERIFIED | {"expiration_month": True},
        VERIFIED | {"expiration_year": 31},
        VERIFIED | {"expiration_year": 20311231},
        VERIFIED | {"expiration_year": None},
        VERIFIED | {"code": "internal"},
        VERIFIED | {"status": "failed"},
        VERIFIED | {"status": "failed", "code": "internal"},
        FAILED | {"code": "verified"},
        FAILED | {"last4": "0421"},
        FAILED | {"brand": "VISA"},
        FAILED | {"code": "4"},
    ],
    ids=str,
)
def test_a_reply_that_violates_the_schema_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(VaultError):
        parse_reply(_line(message))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b"\xff\xfe\n",
        _line(VERIFIED)[:-1],
        b" " + _line(VERIFIED),
        _line(VERIFIED) + b"\n",
        _line(VERIFIED) * 2,
        json.dumps(VERIFIED).encode() + b"\n",
        _line(VERIFIED).replace(b'"VISA"', b'"\\u0056ISA"'),
        _line(VERIFIED).replace(b'"sink"', b'"brand":"MORE","sink"'),
        _line(dict(reversed(VERIFIED.items()))),
        _line(VERIFIED).replace(b"2031", b"NaN"),
    ],
    ids=str,
)
def test_a_non_canonical_reply_is_refused(line: bytes) -> None:
    with pytest.raises(VaultError):
        parse_reply(line)


def test_a_failure_carries_its_code_and_no_card() -> None:
    assert failed("deadline") == VaultReply(status="failed", code="deadline", sink="none")


@pytest.mark.parametrize(
    ("brand", "clean"),
    [
        ("VISA", "VISA"),
        ("Visa", "VISA"),
        ("American Express", "AMERICAN EXPRESS"),
        (None, None),
        ("", None),
        (" VISA", None),
        ("VISA\n", None),
        ("VISA 0421", None),
        ("V" * 21, None),
        ("ВИЗА", None),
    ],
)
def test_a_brand_is_uppercase_or_none(brand: str | None, clean: str | None) -> None:
    assert clean_brand(brand) == clean
