"""Hypothesis strategies that build responses from the contract's schemas: valid, unexpected and malformed."""

from __future__ import annotations

import copy
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import product
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from machines_mcp.redaction.detectors import masked_text
from tests.contract.judge import contract

# Part of every generated name and free text. No name that the client accepts can contain it.
CANARY = "x7QZ9kW3"
Schema = Mapping[str, Any]
Drawn = SearchStrategy[Any]

# Beyond this, JSON parsers disagree about a number's value.
_MOST = 2**53 - 1
# The first and last second, in Unix time, that the client accepts as a point in time.
_FIRST, _LAST = 946_684_800, 7_258_118_399
_TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12).map(lambda text: CANARY + text)
_CODE = st.text(string.ascii_letters + string.digits + ".-", max_size=12).map(lambda text: CANARY + text)
_WHOLE = st.integers(-_MOST, _MOST)
_NUMBER = _WHOLE | st.floats(allow_nan=False, allow_infinity=False)
JSON: Drawn = st.recursive(
    st.none() | st.booleans() | _NUMBER | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_MOMENT = st.builds(
    lambda seconds, fraction, zone: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}{zone}",
    st.integers(_FIRST + 86_400, _LAST - 86_400),
    st.sampled_from(["", ".5", ".123", ".123456"]),
    st.sampled_from(["Z", "+00:00", "-11:30", "+14:00"]),
)
# The contract says `number` and `string`, as the vendor's types do. What it can't mean is left out: versions are
# integers, expiries are timestamps, no month is the thirteenth, no amount of a route is negative, ids fit in a path,
# addresses are addresses, and memos are numbers.
_ADDRESS = st.integers(1, 16**40 - 1).map("0x{:040x}".format).filter(lambda text: masked_text(text) == text)
_MEMO = st.integers(0, 10**9).map(str)
_POSITIVE, _CENTS, _AMOUNT = st.integers(1, _MOST), st.integers(0, _MOST), st.integers(0, 10**15) | st.floats(0, 1e15)
_NARROWER: dict[str, Drawn] = (
    dict.fromkeys(("contractVersion", "parameters"), _WHOLE)
    | dict.fromkeys(("chainId", "payoutChainId"), _POSITIVE)
    | dict.fromkeys(("minAmount", "maxAmount", "estimatedToAmount", "quotedAmount", "fromAmount"), _AMOUNT)
    | dict.fromkeys(("minAmountCents", "maxAmountCents", "fromAmountCents", "amountCents"), _CENTS)
    | dict.fromkeys(("cardId", "id", "ticker", "code"), _CODE)
    | dict.fromkeys(("address", "walletAddress", "payinAddress", "payoutAddress", "callTarget"), _ADDRESS)
    | dict.fromkeys(("collateralProxyAddress", "controllerAddress", "coordinatorAddress"), _ADDRESS)
    | dict.fromkeys(("payinExtraId", "payoutExtraId", "destinationExtraId"), _MEMO)
    | {
        # Of the network that the requests name; its form is not known on any other.
        "depositAddress": st.integers(1, 10**9).map("0.0.{}".format),
        "expiresAt": st.integers(_FIRST, _LAST),
        "expirationMonth": st.integers(1, 12),
        "expirationYear": st.integers(2000, 2199),
        "sortOrder": st.integers(-(10**15), 10**15),
        "retryAfterSeconds": st.integers(0, 86_400),
        "last4": st.from_regex("[0-9]{4}", fullmatch=True),
    }
)
# `""` is absent, and these can't be.
_NEEDED = frozenset({"data", "iv", "ct", "secretKey", "sessionId", "userId", "toCurrency", "toNetwork", "enum"}) | {
    *("annualSalary", "expectedMonthlyVolume", "accountPurpose", "quotedAmountCurrency", "scopes"),
}
# Strings in one alternative of the contract, numbers in another.
_NUMBERS = ("parameters", "expiresAt")
_TOKEN = st.from_regex(r"[!-~]{1,80}", fullmatch=True)


class ResponseStrategies:
    """Builds strategies. Strange ones add unknown fields to every object and unknown values to every enum."""

    def __init__(self, *, strange: bool) -> None:
        self._strange = strange

    def response(self, operation_id: str) -> Drawn:
        """Return the envelope of a successful response to an operation."""
        (operation,) = (op for op in contract().operations if op.operation_id == operation_id)
        (good,) = (reply for status, reply in operation.body["responses"].items() if status[0] == "2")
        drawn = self.value(good["content"]["application/json"]["schema"]["anyOf"][0])
        # The `else` branch's schema does not exclude what `if` matches.
        method, path, check = operation.method, operation.template, contract().response_violations
        return drawn if self._strange else drawn.filter(lambda body: not check(method, path, 200, body))

    def value(self, schema: Schema, name: str = "") -> Drawn:
        """Return any value the schema allows. `name` is the field that holds it."""
        return st.one_of([self._plain(plain, name) for plain in _alternatives(schema)])

    def _plain(self, schema: Schema, name: str) -> Drawn:
        if "const" in schema:
            return st.just(schema["const"])
        if "enum" in schema:
            return st.sampled_from(schema["enum"]) | (_TEXT if self._strange else st.nothing())
        types = schema.get("type", "object" if "properties" in schema else ())
        if not isinstance(types, str):
            return st.one_of([self._plain({**schema, "type": one}, name) for one in types])
        if types == "object":
            return self._object(schema)
        if types == "array":
            least = schema.get("minItems", 0)
            items = self.value(schema["items"], name)
            return st.lists(items, min_size=least, max_size=min(least + 2, schema.get("maxItems", least + 2)))
        return _scalar(types, schema, name)

    def _object(self, schema: Schema) -> Drawn:
        more = st.dictionaries(_TEXT, JSON, min_size=1, max_size=2)
        if "properties" not in schema:
            return more
        fields = {name: self.value(inner, name) for name, inner in schema["properties"].items()}
        required = {name: fields.pop(name) for name in schema.get("required", ()) if name in fields}
        known = st.fixed_dictionaries(required, optional=fields)
        return st.builds(dict.__or__, more, known) if self._strange else known


def _scalar(kind: str, schema: Schema, name: str) -> Drawn:
    if kind == "string" and schema.get("format") == "date-time":
        return _MOMENT
    if name in _NARROWER and kind in ("string", "integer", "number") and not (kind == "string" and name in _NUMBERS):
        return _NARROWER[name]
    if kind == "string" and "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    if name == "sessionToken":
        return _TOKEN
    if kind == "string":
        # Longer than every minimum length and shorter than every maximum.
        return _TEXT if "minLength" in schema or name in _NEEDED else _TEXT | st.just("")
    if kind == "integer":
        return st.integers(schema.get("minimum", -_MOST), schema.get("maximum", _MOST))
    return {"null": st.none(), "boolean": st.booleans(), "number": _NUMBER}[kind]


def _alternatives(schema: Schema) -> list[Schema]:
    """Return equivalent schemas without `$ref`, `allOf`, `anyOf` and `if`. A value must match one of them."""
    if "$ref" in schema:
        return _alternatives(contract().document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    parts = [_alternatives(part) for part in schema.get("allOf", ())]
    if "anyOf" in schema:
        parts.append([plain for part in schema["anyOf"] for plain in _alternatives(part)])
    if "if" in schema:
        parts.append([*_alternatives({"allOf": [schema["if"], schema["then"]]}), *_alternatives(schema["else"])])
    rest = {word: rule for word, rule in schema.items() if word not in ("allOf", "anyOf", "if", "then", "else")}
    merged = [_merged([rest, *choice]) for choice in product(*parts)]
    return [plain for plain in merged if plain is not None]


def _merged(schemas: list[Schema]) -> Schema | None:
    """Merge schemas into one that requires all of them. Return None if no type satisfies them all."""
    merged: dict[str, Any] = {}
    for schema in schemas:
        both = merged | dict(schema)
        if "type" in merged and "type" in schema:
            both["type"] = [one for one in _types(merged) if one in _types(schema)]
            if not both["type"]:
                return None
        shared = merged.get("properties", {}), schema.get("properties", {})
        if any(shared):
            both["properties"] = {
                name: {"allOf": [part[name] for part in shared if name in part]} for name in shared[0] | shared[1]
            }
        both["required"] = [*merged.get("required", ()), *schema.get("required", ())]
        merged = both
    return merged


def _types(schema: Schema) -> list[str]:
    return [schema["type"]] if isinstance(schema["type"], str) else schema["type"]


def malformed(bodies: Drawn) -> Drawn:
    """Return the same bodies with an arbitrary value in one place, or with one field missing."""
    return st.builds(_malformed, bodies, st.integers(0, 200), JSON | st.just(...))


def _malformed(body: dict[str, Any], place: int, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(body)
    places: list[tuple[Any, Any]] = []
    level: list[Any] = [body]
    while level:
        container = level.pop(0)
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            places.append((container, key))
            if isinstance(container[key], dict | list):
                level.append(container[key])
    container, key = places[place % len(places)]
    if value is ...:
        del container[key]
    else:
        container[key] = value
    return body
