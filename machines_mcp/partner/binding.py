"""Compare a response with its request: a `Binding` has the rules of one endpoint.

A path is dotted names. `[]` stands for every member of a list, `[3/7]` for the fourth member of a list of seven, and
`a|b` for the values at both. A value that is missing, null or `""` is absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from machines_mcp.partner.request import Request
from machines_mcp.partner.same_value import equal

# Whether a rule applies to the data of a response.
Condition: TypeAlias = Callable[[Mapping[str, Any]], bool]

_STEP = re.compile(r"\[(?:([0-9]+)/([0-9]+))?\]|[^.\[\]]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """The values at `response` must be the `same` as the value at `request`, if the request has one.

    `request` begins with `ids`, `query`, `body`, `seen` or `method`, or with `response` for a value that the response
    repeats. If `required`, a response without the value is a difference. If `exact`, so is a value that was not
    requested. `required` may depend on the response. The rule applies only to responses for which `when` holds.
    """

    response: str
    request: str
    same: Callable[[Any, Any], bool] = equal
    required: bool | Condition = True
    exact: bool = False
    when: Condition | None = None

    def needs(self, data: Mapping[str, Any]) -> bool:
        """Whether this response must have the value."""
        return self.required if isinstance(self.required, bool) else self.required(data)

    def holds(self, request: Request, data: Mapping[str, Any]) -> bool:
        """Whether the response agrees with the request."""
        requested = requested_value(self, request, data)
        found = [value for value in read(data, self.response) if not is_absent(value)]
        if requested is None:
            return not (self.exact and found)
        if not found:
            return not self.needs(data)
        return all(self.same(requested, value) for value in found)


@dataclass(frozen=True, slots=True)
class Binding:
    """The rules of one endpoint. `unbound`: the requested values that no response repeats, each with the reason.

    `stable`: the fields that can't change between responses with the same `cardId`.
    """

    rules: tuple[Rule, ...] = ()
    unbound: Mapping[str, str] = field(default_factory=dict)
    stable: tuple[str, ...] = ()

    def difference(self, request: Request, data: Mapping[str, Any]) -> str | None:
        """Return the path of the first value that does not agree with the request; None if all agree."""
        return next((rule.response for rule in self.rules if not rule.holds(request, data)), None)


def requested_value(rule: Rule, request: Request, data: Mapping[str, Any]) -> Any:
    """Return the value that the rule expects in this response; None if it does not apply."""
    if rule.when is not None and not rule.when(data):
        return None
    sources = {"ids": request.ids, "query": request.query, "body": request.body or {}, "response": data}
    found = read(sources | {"seen": request.seen, "method": request.method}, rule.request)
    return next((value for value in found if not is_absent(value)), None)


def is_absent(value: object) -> bool:
    """Whether a value of a response says nothing."""
    return value is None or value == ""


def present(data: Mapping[str, Any], path: str) -> bool:
    """Whether the response has a value at this path."""
    return any(not is_absent(value) for value in read(data, path))


def read(data: Any, path: str) -> list[Any]:
    """Return the values at a path."""
    if "|" in path:
        return [value for part in path.split("|") for value in read(data, part)]
    values = [data]
    for step in _STEP.finditer(path):
        values = [inner for value in values for inner in _inner(value, step)]
    return values


def _inner(value: Any, step: re.Match[str]) -> Iterator[Any]:
    if step[0] == "[]":
        yield from value if isinstance(value, list) else ()
    elif step[1] is not None:
        if isinstance(value, list) and len(value) == int(step[2]):
            yield value[int(step[1])]
    elif isinstance(value, Mapping) and step[0] in value:
        yield value[step[0]]
