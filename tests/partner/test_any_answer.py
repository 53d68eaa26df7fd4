"""Every method of the client against answers that hypothesis makes up."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machines_mcp.partner import PartnerClient, PartnerError
from machines_mcp.partner.models.base import Answer as Model
from machines_mcp.secret import Secret
from tests.partner.answers import CANARY, JSON, hostile_body, odd_body
from tests.partner.test_resources import ENDPOINTS, USER, Endpoint, example

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]
each_method = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation)
SESSION = {"sessionToken": "a.b.c", "sessionId": "session-1", "userId": USER, "scopes": [], "expiresAt": 4_000_000_000}


def some(examples: int) -> settings:
    """The same ones each time: what fails here must fail for everyone."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW)


@pytest.fixture(autouse=True, scope="module")
def without_retries() -> Iterator[None]:
    stamina.set_testing(True, attempts=1)
    yield
    stamina.set_testing(False)


def asked(endpoint: Endpoint, status: int, content: bytes, headers: dict[str, str] | None = None) -> Any:
    """What a method answers when the API answers so; tokens are minted well, unless they are what is asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/sessions") and endpoint.operation != "createSession":
            return httpx.Response(200, json={"ok": True, "data": SESSION})
        return httpx.Response(status, content=content, headers=headers)

    async def ask() -> Any:
        wire = httpx.MockTransport(answer)
        base_url = "http://127.0.0.1:9/partner/v1"
        with anyio.fail_after(20):
            async with PartnerClient(
                base_url, Secret("partner-key"), deadline=10, card_secrets=True, http_transport=wire
            ) as client:
                return await endpoint.call(client)

    return anyio.run(ask)


def lost(ours: Any, theirs: Any) -> list[str]:
    """Where a model doesn't say what the JSON said, of what it has a field for."""
    if isinstance(ours, Secret):
        return [] if ours.expose() == theirs else ["a secret"]
    if isinstance(ours, datetime):
        said = (
            datetime.fromtimestamp(theirs, UTC) if isinstance(theirs, int | float) else datetime.fromisoformat(theirs)
        )
        return [] if ours == said else ["a moment"]
    if isinstance(ours, Model):
        names = {field.alias or name: name for name, field in type(ours).model_fields.items()}
        return [
            f"{key}: {place}"
            for key, value in theirs.items()
            if key in names
            for place in lost(getattr(ours, names[key]), value)
        ]
    if isinstance(ours, tuple):
        pairs = zip(ours, theirs, strict=True)
        return [place for mine, other in pairs for place in lost(mine, other)]
    return [] if ours == theirs else ["a value"]


def holds(error: BaseException, canary: str) -> bool:
    """Whether an error shows a text, or behind it stands one that does, or one of others, which may hold the body."""
    told = [str(error), repr(error), repr(error.args), repr(vars(error)), *traceback.format_exception_only(error)]
    behind = [e for e in (error.__cause__, error.__context__) if e is not None]
    return any(canary in text for text in told) or any(
        not isinstance(e, PartnerError) or holds(e, canary) for e in behind
    )


@each_method
def test_unknown_fields_and_values_of_enums_harm_nothing_and_survive(endpoint: Endpoint) -> None:
    @some(3)
    @given(odd_body(example(endpoint.operation)["body"]))
    def check(body: dict[str, Any]) -> None:
        answer = asked(endpoint, 200, json.dumps(body).encode())
        data = body["data"]
        inner = next((data[key] for key in ("range", "estimate", "deposit", "balances", "value") if key in data), data)
        assert lost(answer, inner) == []

    check()


@each_method
def test_whatever_comes_only_our_errors_come_of_it_and_no_value_is_in_them(endpoint: Endpoint) -> None:
    statuses = st.sampled_from([*[200] * 15, 201, 202, 204, 299, 302, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503])
    texts = st.text(max_size=30).map(lambda text: (CANARY + text).encode("utf-8", "replace")) | st.binary(max_size=30)
    bodies = hostile_body(example(endpoint.operation)["body"]).map(lambda body: json.dumps(body).encode()) | texts
    failed = json.dumps({"ok": False, "summary": CANARY, "errors": [{"code": CANARY, "field": CANARY}]}).encode()

    @some(12)
    @given(statuses, bodies | st.just(failed), st.sampled_from(["", CANARY, "1", "-1", "9" * 40]))
    def check(status: int, content: bytes, retry_after: str) -> None:
        headers = {"Retry-After": retry_after, "Location": f"https://{CANARY}.example/", "X-Canary": CANARY}
        try:
            asked(endpoint, status, content, headers)
        except PartnerError as error:
            assert not holds(error, CANARY)

    check()


WITHDRAWAL = next(endpoint for endpoint in ENDPOINTS if endpoint.operation == "createWithdrawal")
_FIELDS = st.fixed_dictionaries(
    {}, optional={"data": st.none() | st.text(), "salt": st.none() | st.text(), "parameters": st.lists(st.text()),
                  "expiresAt": st.integers(946_684_800, 4_102_444_800), "more": JSON},
)  # fmt: skip
MOMENTS = st.integers(1_000_000_000, 7_000_000_000)


@some(25)
@given(
    st.none() | st.text(st.characters(exclude_categories=["Cs"])) | _FIELDS,
    st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["controller_v1", "coordinator_v2", "unknown"]),
    MOMENTS,
    st.sampled_from(["unix", "float", "digits", "zulu", "offset", "naive"]),
)
def test_a_signature_a_call_path_and_an_expiry_come_in_all_their_shapes(
    signature: Any, call_path: str, moment: int, way: str
) -> None:
    at = datetime.fromtimestamp(moment, UTC)
    written: dict[str, object] = {
        "unix": moment,
        "float": float(moment),
        "digits": str(moment),
        "zulu": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "offset": at.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "naive": at.strftime("%Y-%m-%dT%H:%M:%S"),
    }
    data = {
        "status": "ready",
        "signature": signature,
        "expiresAt": written[way],
        "execution": {"callPath": call_path, "contractVersion": 2},
    }
    answer = asked(WITHDRAWAL, 200, json.dumps({"ok": True, "data": data}).encode())
    assert answer.expires_at == at
    assert answer.execution.call_path == call_path
    assert lost(answer, data | {"expiresAt": moment}) == []
