"""Compare a response with its model, and report the differences by field name only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from machines_mcp.partner.trace import plain_name


@dataclass(frozen=True, slots=True)
class Differences:
    """Field paths such as `cards[].limit.amountCents`, in order and without duplicates.

    `missing`: required but absent. `mistyped`: of another type, or out of the model's range. `extra`: present but not
    in the model; a name that could itself be a value is shown as `?`.
    """

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    mistyped: tuple[str, ...] = ()

    def __or__(self, other: Differences) -> Differences:
        """Merge the differences of both."""
        return Differences(
            _once(self.missing + other.missing),
            _once(self.extra + other.extra),
            _once(self.mistyped + other.mistyped),
        )


def differences(kind: type[BaseModel], data: dict[str, Any], *, inside: str | None = None) -> Differences:
    """Compare the `data` of a response, or its key `inside`, with the model `kind`."""
    if inside is None:
        return _compared(kind, data, "")
    beside = Differences(extra=_once(plain_name(name) for name in data if name != inside))
    if inside not in data:
        return beside | Differences(missing=(inside,))
    return beside | _compared(kind, data[inside], inside)


def _compared(kind: type[BaseModel], value: object, root: str) -> Differences:
    missing: list[str] = []
    mistyped: list[str] = []
    try:
        kind.model_validate(value)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            path = _path(kind, root, fault["loc"])
            (missing if fault["type"] == "missing" else mistyped).append(path)
    return Differences(_once(missing), _once(_extra(kind, value, root)), _once(mistyped))


def _path(kind: type[BaseModel], root: str, place: Sequence[int | str]) -> str:
    """Convert a pydantic error location to a path, without the names of union members."""
    path, model = root, kind
    for step in place:
        if isinstance(step, int):
            path += "[]"
            continue
        member = _members(model).get(step)
        if member is None:
            continue
        path = _below(path, step)
        model = next(iter(_models(member)), model)
    return path or "data"


def _extra(kind: type[BaseModel], value: object, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for member in value:
            yield from _extra(kind, member, f"{path}[]")
    if not isinstance(value, dict) or kind.model_config.get("extra") == "allow":
        return
    known = _members(kind)
    for name, member in value.items():
        if name not in known:
            yield _below(path, plain_name(name))
            continue
        for model in _models(known[name]):
            yield from _extra(model, member, _below(path, name))


def _members(kind: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _once(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))
