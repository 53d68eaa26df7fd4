"""Compare a response with its model, and report the differences by field name only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from machines_mcp.partner.models.base import is_documented
from machines_mcp.partner.models.types import AS_IT_CAME
from machines_mcp.partner.trace import UNNAMED

# Digits only at the end, as in `line1`, because the keys of a map can be tokens or numbers.
_PLAIN = re.compile(r"(?=.{1,40}\Z)[A-Za-z_]+[0-9]{0,2}")


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
            _unique(self.missing + other.missing),
            _unique(self.extra + other.extra),
            _unique(self.mistyped + other.mistyped),
        )


def differences(model: type[BaseModel], data: dict[str, Any], *, key: str | None = None) -> Differences:
    """Compare the `data` of a response, or its value at `key`, with `model`."""
    if key is None:
        return _compare(model, data, "")
    beside = Differences(extra=_unique(_plain_name(name) for name in data if name != key))
    if key not in data:
        return beside | Differences(missing=(key,))
    return beside | _compare(model, data[key], key)


def _plain_name(name: str) -> str:
    """Return an unknown name, which the operator looks for, or `?` unless it is letters and at most two digits."""
    return name if _PLAIN.fullmatch(name) else UNNAMED


def _compare(model: type[BaseModel], value: object, root: str) -> Differences:
    missing: list[str] = []
    mistyped: list[str] = []
    try:
        model.model_validate(value, context=AS_IT_CAME)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            path = _path(model, root, fault["loc"])
            (missing if fault["type"] == "missing" else mistyped).append(path)
    for path, is_null in _absent(model, value, root):
        if not any(path == known or path.startswith((f"{known}.", f"{known}[")) for known in mistyped):
            (mistyped if is_null else missing).append(path)
    return Differences(_unique(missing), _unique(_extra(model, value, root)), _unique(mistyped))


def _path(model: type[BaseModel], root: str, place: Sequence[int | str]) -> str:
    """Convert a pydantic error location to a path, without the names of union members."""
    path, model = root, model
    for step in place:
        if isinstance(step, int):
            path += "[]"
            continue
        member = _fields_by_alias(model).get(step)
        if member is None:
            continue
        path = _below(path, step)
        model = next(iter(_models(member)), model)
    return path or "data"


def _absent(model: type[BaseModel], value: object, path: str) -> Iterator[tuple[str, bool]]:
    """Yield the documented fields without a value that the model can do without, and whether they are null."""
    if isinstance(value, list):
        for member in value:
            yield from _absent(model, member, f"{path}[]")
    if not isinstance(value, dict):
        return
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if value.get(alias) is None and is_documented(field) and not field.is_required():
            yield _below(path, alias), alias in value
        for inner in _models(field.annotation):
            yield from _absent(inner, value.get(alias), _below(path, alias))


def _extra(model: type[BaseModel], value: object, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for member in value:
            yield from _extra(model, member, f"{path}[]")
    if not isinstance(value, dict) or model.model_config.get("extra") == "allow":
        return
    known = _fields_by_alias(model)
    for name, member in value.items():
        if name not in known:
            yield _below(path, _plain_name(name))
            continue
        for model in _models(known[name]):
            yield from _extra(model, member, _below(path, name))


def _fields_by_alias(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _unique(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))
