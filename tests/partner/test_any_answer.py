"""Every method of the client against answers that hypothesis makes up."""

from __future__ import annotations

import asyncio
import inspect
import json
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

import anyio
import httpx
import pytest
import stamina
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from machines_mcp.partner import DataKey, PartnerClient, PartnerError
from machines_mcp.partner.models.base import Answer as Model
from machines_mcp.redaction.secret import Secret
from tests.partner.schema import CANARY, JSON, Drawing, spoilt
from tests.partner.test_resources import ENDPOINTS, LEFT_OUT, USER, Endpoint, example

# One event loop for all, since each example asks once.
LOOP = asyncio.Runner()
BASE_URL = "http://127.0.0.1:9/partner/v1"
SESSION = {"sessionToken": "a.b.c", "sessionId": "session-1", "userId": USER, "scopes": [], "expiresAt": 4_000_000_000}
# What a caller gets of an answer, where that is not all of its data.
INNER = ("range", "estimate", "deposit", "balances", "value")
# The client takes no longer pause for one.
DAY_MS = 86_400_000
# A wait is a question asked again, so its answers are those of the question.
CASES = [
    *ENDPOINTS,
    Endpoint("getKycStatus", lambda c: c.kyc.wait(USER, seconds=0)),
    Endpoint("getDeposit", lambda c: c.deposits.wait(USER, "deposit-0001", seconds=0)),
]


class Pointer:
    """Stands in for a client and says which of its methods was called."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __getattr__(self, name: str) -> Pointer:
        return Pointer(f"{self._name}.{name}".removeprefix("."))

    def __call__(self, *args: object, **options: object) -> str:
        return self._name


def method_of(endpoint: Endpoint) -> str:
    """The method that a case calls, such as `cards.list`."""
    pointer: Any = Pointer()
    return str(endpoint.call(pointer))


each_method = pytest.mark.parametrize("endpoint", CASES, ids=method_of)


def test_every_method_of_the_client_is_among_the_cases() -> None:
    client = PartnerClient(BASE_URL, Secret("partner-key"))
    methods = [
        f"{resource}.{name}"
        for resource, part in vars(client).items()
        if not resource.startswith("_")
        for name, _ in inspect.getmembers(part, inspect.iscoroutinefunction)
        # The client's own way to a token, whose answers are those of `sessions.open`.
        if not name.startswith("_") and name != "acquire"
    ]
    assert sorted(map(method_of, CASES)) == sorted(methods)


def some(examples: int) -> settings:
    """The same ones each time: what fails here must fail for everyone."""
    # Without the phase that explains, which takes a minute.
    phases = (Phase.generate, Phase.shrink)
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=phases,
    )


@pytest.fixture(autouse=True, scope="module")
def without_retries_and_closed_in_the_end() -> Iterator[None]:
    stamina.set_testing(True, attempts=1)
    yield
    stamina.set_testing(False)
    LOOP.close()


class Asking:
    """A client of an API that answers as it is told; tokens are minted well, unless they are what is asked for."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._minting = endpoint.operation == "createSession"
        self._answer: dict[str, Any] = {}
        self._client = self._made()

    def _made(self) -> PartnerClient:
        # Without a network there is nothing to close.
        wire = httpx.MockTransport(self._reply)
        return PartnerClient(BASE_URL, Secret("partner-key"), deadline=10, card_secrets=True, http_transport=wire)

    def _reply(self, request: httpx.Request) -> httpx.Response:
        minted = request.url.path.endswith("/sessions") and not self._minting
        return httpx.Response(200, json={"ok": True, "data": SESSION}) if minted else httpx.Response(**self._answer)

    def asked(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> Any:
        """What the method answers when the API answers so."""
        self._answer = {"status_code": status, "content": content, "headers": headers}
        if self._minting:
            # A session that was good would be given again.
            self._client = self._made()
        return LOOP.run(self._ask())

    async def _ask(self) -> Any:
        with anyio.fail_after(20):
            return await self._endpoint.call(self._client)


def lost(ours: Any, theirs: Any) -> list[str]:
    """Where a model doesn't say what the JSON said, of all that the contract knows."""
    if isinstance(ours, Secret):
        return [] if ours.expose() == theirs else ["a secret"]
    if isinstance(ours, datetime):
        said = (
            datetime.fromtimestamp(theirs, UTC) if isinstance(theirs, int | float) else datetime.fromisoformat(theirs)
        )
        return [] if ours == said else ["a moment"]
    if isinstance(ours, DataKey):
        return lost(ours.model_extra, theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return [f"{key}: {place}" for key in ours for place in lost(ours[key], theirs[key])]
    if isinstance(ours, BaseModel):
        names = {field.alias or name: name for name, field in type(ours).model_fields.items()}
        known = [key for key in theirs if CANARY not in key and key not in LEFT_OUT]
        return [
            f"{key}: {place}"
            for key in known
            for place in (lost(getattr(ours, names[key]), theirs[key]) if key in names else ["no field"])
        ]
    if isinstance(ours, tuple | list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [place for mine, other in zip(ours, theirs, strict=True) for place in lost(mine, other)]
    return [] if ours == theirs else ["a value"]


def holds(error: BaseException, canary: str) -> bool:
    """Whether an error shows a text, or behind it stands one that does, or one of others, which may hold the body."""
    told = [str(error), repr(error), repr(error.args), repr(vars(error)), *traceback.format_exception_only(error)]
    behind = [e for e in (error.__cause__, error.__context__) if e is not None]
    return any(canary in text for text in told) or any(
        not isinstance(e, PartnerError) or holds(e, canary) for e in behind
    )


def is_bare(error: PartnerError) -> bool:
    """Whether an error's text is what it would be had nothing come at all."""
    bare = type(error)()
    return (str(error), repr(error), error.args) == (str(bare), repr(bare), bare.args)


@each_method
def test_every_answer_that_the_contract_allows_is_read_and_strange_ones_too(endpoint: Endpoint) -> None:
    api = Asking(endpoint)

    @some(10)
    @given(Drawing(strange=False).answer(endpoint.operation) | Drawing(strange=True).answer(endpoint.operation))
    def check(body: dict[str, Any]) -> None:
        answer = api.asked(200, json.dumps(body).encode())
        data = body["data"]
        assert lost(answer, next((data[key] for key in INNER if key in data), data)) == []
        hint = body.get("next", {})
        if isinstance(answer, Model) and "next" in body and hint.get("pollAfterMs", 1) <= DAY_MS:
            assert answer.hint is not None
            assert lost(answer.hint, hint) == []

    check()


@each_method
def test_whatever_comes_only_our_errors_come_of_it_and_no_value_is_in_them(endpoint: Endpoint) -> None:
    api = Asking(endpoint)

    statuses = st.sampled_from([*[200] * 15, 201, 202, 204, 299, 302, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503])
    texts = st.text(max_size=30).map(lambda text: (CANARY + text).encode("utf-8", "replace")) | st.binary(max_size=30)
    bodies = (spoilt(Drawing(strange=True).answer(endpoint.operation)) | JSON).map(
        lambda body: json.dumps(body).encode()
    )
    failed = json.dumps({"ok": False, "summary": CANARY, "errors": [{"code": CANARY, "field": CANARY}]}).encode()

    @some(12)
    @given(statuses, bodies | texts | st.just(failed), st.sampled_from(["", CANARY, "1", "-1", "9" * 40]))
    def check(status: int, content: bytes, retry_after: str) -> None:
        headers = {"Retry-After": retry_after, "Location": f"https://{CANARY}.example/", "X-Canary": CANARY}
        try:
            api.asked(status, content, headers)
        except PartnerError as error:
            assert is_bare(error)
            assert not holds(error, CANARY)

    check()


def emptied(value: Any) -> list[Any]:
    """An answer in which one object or list after the other is empty, or null."""
    if not isinstance(value, dict | list):
        return []
    places = value.items() if isinstance(value, dict) else enumerate(value)
    inner: list[Any] = [(key, empty) for key, member in places for empty in emptied(member)]
    within = [value | {key: empty} for key, empty in inner] if isinstance(value, dict) else [[e] for _, e in inner]
    return [type(value)(), None, *within]


@each_method
def test_an_empty_answer_is_a_model_or_one_of_our_errors(endpoint: Endpoint) -> None:
    api = Asking(endpoint)
    empties = [*emptied(example(endpoint.operation)["body"]), {"ok": True}, {"ok": True, "data": {}}]
    good = [(200, content) for content in [b"", b"[]", b"{", *(json.dumps(body).encode() for body in empties)]]
    for status, content in [*good, *product((204, 404, 500), (b"", b"{}"))]:
        try:
            answer = api.asked(status, content)
        except PartnerError as error:
            assert is_bare(error)
        else:
            assert isinstance(answer, Model | str)


@each_method
def test_empty_lists_are_no_fault(endpoint: Endpoint) -> None:
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(member) for name, member in value.items()}
        return [] if isinstance(value, list) else value

    body = without(example(endpoint.operation)["body"])
    assert isinstance(Asking(endpoint).asked(200, json.dumps(body).encode()), Model | str)


WITHDRAWAL = next(endpoint for endpoint in ENDPOINTS if endpoint.operation == "createWithdrawal")
_FIELDS = st.fixed_dictionaries(
    {}, optional={"data": st.none() | st.text(), "salt": st.none() | st.text(), "parameters": st.lists(st.text()),
                  "expiresAt": st.integers(946_684_800, 4_102_444_800), CANARY: JSON},
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
    answer = Asking(WITHDRAWAL).asked(200, json.dumps({"ok": True, "data": data}).encode())
    assert answer.expires_at == at
    assert answer.execution.call_path == call_path
    assert lost(answer, data | {"expiresAt": moment}) == []
