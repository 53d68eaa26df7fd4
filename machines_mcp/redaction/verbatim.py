"""String types that redaction must never alter: what money follows, and ids.

The output filter shows them unaltered, but only in output fields of these types. A validator must have made the value
from the API's own field, from a checked argument, or from our own data. A plain `str` is rejected.

A `Verbatim` may look like a card number, as one in fifty random 16-digit numbers does: money is sent to these values.
An `AddressOrMemo` is one that Machines sent: visible characters without spaces, so that it is no sentence.
An `Identifier` may not look like a card number: an altered id is of no use, so such an id is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from machines_mcp.redaction.characters import checked_characters

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class Verbatim(str):
    """A string that is passed on unaltered. Output fields accept only this type, and only printable values.

    From JSON (our own stored outcomes), any string becomes one.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        made = core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
        is_one = core_schema.is_instance_schema(cls)
        return core_schema.no_info_after_validator_function(
            _printable, core_schema.json_or_python_schema(json_schema=made, python_schema=is_one)
        )


class AddressOrMemo(Verbatim):
    """An address or memo of Machines, which money follows."""

    __slots__ = ()


class Identifier(Verbatim):
    """An id or a cursor of Machines, which does not look like a card number."""

    __slots__ = ()


class VerbatimArgument:
    """Makes a `Verbatim` from a string that follows these rules. The JSON schema is that of such a string.

    `Annotated[Verbatim, VerbatimArgument(max_length=120)]` is an argument.
    """

    def __init__(
        self, *, min_length: int | None = None, max_length: int | None = None, pattern: str | None = None
    ) -> None:
        self._rules: dict[str, Any] = {"min_length": min_length, "max_length": max_length, "pattern": pattern}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        rules = {name: value for name, value in self._rules.items() if value is not None}
        return core_schema.no_info_after_validator_function(self._made, core_schema.str_schema(**rules))

    def _made(self, value: str) -> Verbatim:
        return Verbatim(value)


class AddressOrMemoArgument(VerbatimArgument):
    """As `VerbatimArgument`, for an `AddressOrMemo`: 1 to 256 visible ASCII characters without spaces."""

    def __init__(self) -> None:
        super().__init__(pattern=r"^[!-~]{1,256}$")

    def _made(self, value: str) -> AddressOrMemo:
        return AddressOrMemo(value)


class IdentifierArgument(VerbatimArgument):
    """As `VerbatimArgument`, for an `Identifier`."""

    def _made(self, value: str) -> Identifier:
        from machines_mcp.redaction.detectors import is_sensitive_id

        if is_sensitive_id(value):
            from pydantic_core import PydanticCustomError

            raise PydanticCustomError("machines_rule", "must not look like a card number or a national id")
        return Identifier(value)


def _printable(value: Verbatim) -> Verbatim:
    # The value can't be cleaned, so one that needs cleaning is rejected.
    checked_characters(value)
    return value


def collect_verbatim(value: Any) -> set[str]:
    """Return every `Verbatim` in a model, at any depth: the values that its answer may show unaltered."""
    return {str(one) for one in find_verbatim(value)}


def find_verbatim(value: Any) -> list[Verbatim]:
    """Return every `Verbatim` in a model, at any depth, with its type."""
    found: list[Verbatim] = []
    _walk(value, found.append)
    return found


# Values and fields of these types contain no `Verbatim`.
_LEAVES = frozenset({str, int, float, bool, type(None), datetime})


def _walk(value: Any, tell: Callable[[Verbatim], None]) -> None:
    kind: Any = type(value)
    if kind in _LEAVES:
        return
    if isinstance(value, Verbatim):
        tell(value)
    elif isinstance(value, dict):
        for inner in value.values():
            _walk(inner, tell)
    elif isinstance(value, list | tuple):
        for inner in value:
            _walk(inner, tell)
    else:
        for name in _fields_to_walk(kind):
            _walk(getattr(value, name), tell)


@cache
def _fields_to_walk(kind: Any, above: tuple[Any, ...] = ()) -> tuple[str, ...]:
    """Return the fields of a model that may hold a `Verbatim`; none of another class. `above` are the models around
    it."""
    fields = getattr(kind, "model_fields", {})
    return tuple(name for name, field in fields.items() if not _is_leaf(field.annotation, (*above, kind)))


def _is_leaf(annotation: Any, above: tuple[Any, ...]) -> bool:
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _is_leaf(parts[0], above)
    if get_origin(annotation) is Literal or annotation in _LEAVES:
        return True
    if hasattr(annotation, "model_fields"):
        # A subclass, which may stand there too, can have other fields.
        known = annotation.model_config.get("extra") != "allow" and not annotation.__subclasses__()
        return known and annotation not in above and not _fields_to_walk(annotation, above)
    return bool(parts) and all(_is_leaf(part, above) for part in parts)
