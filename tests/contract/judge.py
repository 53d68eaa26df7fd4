"""Check whether an exchange with the Partner API conforms to the contract.

Only tests import this module. It reads `partner-openapi.yaml` with PyYAML and validates with jsonschema (draft 2020-12,
the dialect of OpenAPI 3.1); both are dependencies of the tests only. A violation is one line with the place and the
broken rule. It never repeats the value, so it is safe to print next to realistic data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

CONTRACT_FILE: Final = Path(__file__).with_name("partner-openapi.yaml")
EXAMPLES: Final = Path(__file__).with_name("examples")
METHODS: Final = ("get", "post", "put", "patch", "delete")
BASE_PATH: Final = "/partner/v1"
_ROOT: Final = "urn:machines:partner-contract"


@dataclass(frozen=True)
class Operation:
    """One method on one path template, with the settings of both."""

    operation_id: str
    method: str
    template: str
    pointer: tuple[str, ...]
    body: Mapping[str, Any]
    parameters: tuple[Mapping[str, Any], ...]

    @property
    def scope(self) -> str | None:
        """The scope a session needs, or None if none is named."""
        scope: str | None = self.body.get("x-scope")
        return scope

    @property
    def gates(self) -> tuple[str, ...]:
        """User states that must be reached first: `kyc`, `agreements`."""
        return tuple(self.body.get("x-gates", ()))

    @property
    def partner_key(self) -> bool:
        """Whether the credential is the partner key instead of a session token."""
        return self.body.get("security") == [{"partnerKey": []}]


class Contract:
    """The contract document and the checks that tests use."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        resource = DRAFT202012.create_resource(dict(document))
        self._registry: Registry[Any] = Registry().with_resource(_ROOT, resource)
        self._validators: dict[tuple[str, ...], Draft202012Validator] = {}
        self.operations = tuple(self._read_operations())

    def _read_operations(self) -> list[Operation]:
        found = []
        for template, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    body = item[method]
                    named = (*item.get("parameters", ()), *body.get("parameters", ()))
                    parameters = tuple(self._deref(parameter) for parameter in named)
                    pointer = ("paths", template, method)
                    found.append(Operation(body["operationId"], method.upper(), template, pointer, body, parameters))
        return found

    def _deref(self, node: Any) -> Any:
        while isinstance(node, Mapping) and "$ref" in node:
            target: Any = self.document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = target
        return node

    def operation(self, method: str, path: str) -> Operation | None:
        """Return the operation that serves `path` (with or without the base path).

        A literal template takes precedence over `{x}` for every method, whether the method is served there or not.
        """
        wanted = path.removeprefix(BASE_PATH)
        fitting = [op for op in self.operations if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", op.template), wanted)]
        template = min((op.template for op in fitting), key=lambda template: template.count("{"), default=None)
        return next((op for op in fitting if (op.template, op.method) == (template, method.upper())), None)

    def request_violations(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> list[str]:
        """List a request's violations. `body` is parsed JSON, or None for no body."""
        op = self.operation(method, path)
        if op is None:
            return ["path: no operation has this method and path"]
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        found = self._credential_violations(op, sent)
        found += self._parameter_violations(op, path.removeprefix(BASE_PATH), sent, query or {})
        spec = op.body.get("requestBody")
        if body is None:
            return [*found, "body: required"] if spec and spec.get("required") else found
        if spec is None:
            return [*found, "body: none is documented"]
        if not sent.get("content-type", "").startswith("application/json"):
            found.append("header Content-Type: must be application/json")
        return found + self._violations((*op.pointer, *_JSON_BODY), body, "body")

    def _credential_violations(self, op: Operation, sent: Mapping[str, str]) -> list[str]:
        if op.partner_key:
            return [] if sent.get("x-partner-key") else ["header X-Partner-Key: required"]
        token = re.fullmatch(r"Bearer [^\s.]+\.[^\s.]+\.[^\s.]+", sent.get("authorization", ""))
        return [] if token else ["header Authorization: must be Bearer and a JWT"]

    def _parameter_violations(
        self, op: Operation, path: str, sent: Mapping[str, str], query: Mapping[str, str]
    ) -> list[str]:
        found = []
        known = {p["name"] for p in op.parameters if p["in"] == "query"}
        found += [f"query: {name} is not documented" for name in sorted(set(query) - known) if name.isidentifier()]
        names = re.findall(r"\{([^}]+)\}", op.template)
        match = re.fullmatch(re.sub(r"\{[^}]+\}", "([^/]+)", op.template), path)
        in_path = dict(zip(names, match.groups(), strict=True)) if match else {}
        for parameter in op.parameters:
            name, place = parameter["name"], parameter["in"]
            source = {"header": sent, "query": query, "path": in_path}[place]
            value = source.get(name.lower() if place == "header" else name)
            if value is None:
                found += [f"{place} {name}: required"] if parameter.get("required") else []
                continue
            schema = parameter["schema"]
            typed: object = int(value) if schema.get("type") == "integer" and re.fullmatch(r"-?\d+", value) else value
            validator = Draft202012Validator(schema, format_checker=FormatChecker())
            found += [_line(error, f"{place} {name}") for error in validator.iter_errors(typed)]
        return found

    def response_violations(
        self, method: str, path: str, status: int, body: object, *, request_headers: Mapping[str, str] | None = None
    ) -> list[str]:
        """List a response's violations. `body` is parsed JSON."""
        op = self.operation(method, path)
        if op is None:
            return self._unknown_path_violations(status, body)
        responses = op.body["responses"]
        key = str(status) if str(status) in responses else f"{status // 100}XX"
        if key not in responses:
            return [f"status: {status} is not documented for {op.operation_id}"]
        pointer: tuple[str, ...] = (*op.pointer, "responses", key)
        if "$ref" in responses[key]:
            pointer = tuple(responses[key]["$ref"].removeprefix("#/").split("/"))
        alternatives = (*pointer, "content", "application/json", "schema", "anyOf")
        asked = {name.lower(): value for name, value in (request_headers or {}).items()}
        if asked.get("x-open-responses") not in ("1", "true"):
            return self._violations((*alternatives, "0"), body, "response")
        return self._open_response_violations(alternatives, body, asked.get("x-open-responses-call-id"))

    def _open_response_violations(self, alternatives: tuple[str, ...], body: object, call_id: str | None) -> list[str]:
        found = self._violations((*alternatives, "1"), body, "response")
        if found or not isinstance(body, dict):
            return found
        message, output = body["output"]
        envelope = json.loads(output["output"])
        found = self._violations((*alternatives, "0"), envelope, "response.output.1.output")
        if call_id and output["call_id"] != call_id:
            found.append("response.output.1.call_id: must be the one of the request")
        if message["content"][0]["text"] != envelope.get("summary"):
            found.append("response.output.0: must say the summary")
        if (body["status"] == "completed") != (envelope.get("ok") is True):
            found.append("response.status: must agree with ok")
        return found

    def _unknown_path_violations(self, status: int, body: object) -> list[str]:
        found = [] if status in (404, 405) else ["status: must be 404 or 405 where there is no operation"]
        return found + self.error_violations(body)

    def error_violations(self, body: object) -> list[str]:
        """List an error body's violations. The envelope is the same for every status."""
        return self._violations(("components", "schemas", "ErrorReply"), body, "response")

    def known_codes(self, status: int) -> frozenset[str]:
        """Return the error codes that are documented or chosen for a status."""
        for response in self.document["components"]["responses"].values():
            if response["x-status"] == status:
                return frozenset(response["x-codes"])
        return frozenset()

    def _violations(self, pointer: tuple[str, ...], instance: object, where: str) -> list[str]:
        validator = self._validators.get(pointer)
        if validator is None:
            escaped = "/".join(step.replace("~", "~0").replace("/", "~1") for step in pointer)
            validator = Draft202012Validator(
                {"$ref": f"{_ROOT}#/{escaped}"}, registry=self._registry, format_checker=FormatChecker()
            )
            self._validators[pointer] = validator
        return sorted(_line(error, where) for error in validator.iter_errors(instance))


_JSON_BODY: Final = ("requestBody", "content", "application/json", "schema")


def _line(error: ValidationError, where: str) -> str:
    """Describe a validation error by place and rule."""
    deepest = _deepest(error)
    at = ".".join([where, *(str(step) for step in deepest.absolute_path)])
    if deepest.validator == "required" and isinstance(deepest.instance, Mapping):
        required: Any = deepest.validator_value
        missing = [name for name in required if name not in deepest.instance]
        return f"{at}: required {', '.join(missing)}"
    if deepest.validator == "additionalProperties":
        return f"{at}: has a property that is not documented"
    rule = deepest.validator_value if isinstance(deepest.validator_value, str | int | float | list) else ""
    return f"{at}: {deepest.validator} {rule}".rstrip()


def _deepest(error: ValidationError) -> ValidationError:
    """Return the error of the best matching `anyOf` branch, the only one that helps a reader."""
    branches: dict[object, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    return _deepest(min(branches.values(), key=len)[0]) if branches else error


@lru_cache(maxsize=1)
def contract() -> Contract:
    """Return the contract, read once."""
    return Contract(yaml.safe_load(CONTRACT_FILE.read_text(encoding="utf-8")))
