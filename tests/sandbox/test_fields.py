"""Invalid input never makes the sandbox fail: it responds in the envelope and names the field, not the value."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest

from tests.contract.judge import Operation, contract
from tests.support.sandbox_caller import SandboxClient, User, example

WITH_BODY = [operation for operation in contract().operations if "requestBody" in operation.body]
BAD_JSON = {
    "not JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "a string": b'"text"',
    "no UTF-8": b'{"a": "\xff"}',
    "a lone surrogate": b'{"userId": "\\ud800"}',
    "NaN": b'{"amount": NaN}',
    "too deep": b"[" * 100_000,
    "a number too long": b'{"amount": 1' + b"0" * 5000 + b"}",
    "too large": b'{"a": "' + b"a" * 300_000 + b'"}',
}
# Each is longer, larger or of another type than any field accepts.
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, "", -1, 1.5, [], {}),
    *(10**30, "a" * 5000, "\x00", float("1e300")),
)


@pytest.fixture(scope="module")
def user(partner: SandboxClient) -> User:
    return partner.funded_user(100)


def named(operation: Operation) -> str:
    return operation.operation_id


def send(user: User, operation: Operation, body: object = None, raw: bytes | None = None) -> Any:
    path = operation.template.replace("{cardId}", _card(user))
    if operation.partner_key:
        headers = {"X-Partner-Key": user.caller.sandbox.partner_key}
        return user.caller.call(operation.method, path, body, raw=raw, headers=headers)
    return user.call(operation.method, path, body, raw=raw)


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
def test_body_that_is_not_an_object_is_rejected(user: User, operation: Operation) -> None:
    for raw in BAD_JSON.values():
        assert send(user, operation, raw=raw).error[:2] == (400, "invalid_request")


@lru_cache
def _card(user: User) -> str:
    return user.new_card()


def variants(node: Any) -> Iterator[tuple[list[str], Any]]:
    """Yield the body with each odd value in each place, and with each place removed."""
    for name in node if isinstance(node, dict) else ():
        for value in (*ODD_VALUES, ...):
            yield [name], value
        for path, value in variants(node[name]):
            yield [name, *path], value


def changed(body: Any, path: list[str], value: object) -> Any:
    body = copy.deepcopy(body)
    *parents, last = path
    node = body
    for name in parents:
        node = node[name]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return body


@pytest.mark.parametrize("operation", [op for op in WITH_BODY if op.operation_id != "createSession"], ids=named)
def test_odd_value_is_rejected_by_field_or_accepted_without_failing(user: User, operation: Operation) -> None:
    body = example(operation.operation_id).get("body", {})
    for path, value in variants(body):
        reply = send(user, operation, changed(body, path, value))
        assert reply.status in (200, 400, 409)
        if reply.status == 400:
            assert str(reply.error[2]).split(".")[0] == path[0]
            assert not isinstance(value, str) or len(value) < 2 or value not in json.dumps(reply.body)


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/cards", {"limit": "0"}, "limit"),
        ("/cards", {"limit": "101"}, "limit"),
        ("/cards", {"limit": "many"}, "limit"),
        ("/cards", {"limit": "1" * 40}, "limit"),
        ("/cards", {"cursor": "x"}, "cursor"),
        ("/cards", {"cursor": ""}, "cursor"),
        ("/transactions", {"limit": "201"}, "limit"),
        ("/transactions", {"type": "spend,"}, "type"),
        ("/transactions", {"type": "gift"}, "type"),
        ("/transactions", {"cardId": "not-a-uuid"}, "cardId"),
        ("/transactions", {"cursor": "not-a-cursor"}, "cursor"),
        ("/transactions", {"cursor": "MSAy"}, "cursor"),
        ("/deposits", {"scope": "none"}, "scope"),
        ("/deposits/assets", {"limit": "-1"}, "limit"),
        ("/deposits/assets", {"q": ""}, "q"),
        ("/withdrawals/assets", {"sourceChainId": "base"}, "source.chainId"),
    ],
)
def test_query_is_validated_like_a_body(user: User, path: str, query: dict[str, str], field: str) -> None:
    assert user.call("GET", path, query=query).error == (400, "invalid_request", field)


def test_undocumented_fields_are_ignored(user: User) -> None:
    assert user.call("POST", "/cards", {"surprise": [1]}).status == 200
    assert user.call("GET", "/cards", query={"surprise": "1"}).status == 200


@pytest.mark.parametrize("value", ["%ff%fe", "%00" * 8, "a" * 3000, "..%2f..%2fcards", "é" * 10])
def test_odd_paths_and_queries_get_an_envelope(user: User, value: str) -> None:
    for url in (f"/cards/{value}", f"/deposits/{value}"):
        assert user.call("GET", url).status == 404
    assert user.call("GET", "/cards", query={"cursor": value}).status == 400


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Open-Responses", "X-Open-Responses-Call-Id", "Authorization"])
def test_odd_header_values_get_an_envelope(user: User, name: str) -> None:
    for value in (b"\xff" * 20, b"\xc3\xa9" * 10, b"a" * 2000, b"\x7f"):
        headers: Any = {"Authorization": f"Bearer {user.token}".encode(), name: value}
        assert user.caller.call("POST", "/cards", {}, headers=headers).status in (200, 400, 401)
