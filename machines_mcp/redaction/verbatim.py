"""What must be shown to the letter or not at all: ids, addresses, memos, calldata, hashes.

One in fifty random numbers of sixteen digits could be a card's, and money follows these. So the guard shows them whole,
but only where an answer's model has such a field and holds what a validator made of upstream's own field, of a checked
argument, or of our own making: a plain string is refused there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class Verbatim(str):
    """A string that is passed on as it is. As a field of an output it takes no other string, and only printable ones.

    From JSON (our own stored outcomes) it is made of any string.
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


class VerbatimArgument:
    """Makes an `Opaque` of a string that keeps these rules; the field's JSON schema is that of such a string.

    `Annotated[Opaque, FromText(max_length=120)]` is an argument.
    """

    def __init__(
        self, *, min_length: int | None = None, max_length: int | None = None, pattern: str | None = None
    ) -> None:
        self._rules: dict[str, Any] = {"min_length": min_length, "max_length": max_length, "pattern": pattern}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        rules = {name: value for name, value in self._rules.items() if value is not None}
        return core_schema.no_info_after_validator_function(Verbatim, core_schema.str_schema(**rules))


def _printable(value: Verbatim) -> Verbatim:
    from pydantic_core import PydanticCustomError

    # Nothing of it can be cleaned away, so what would have to be is not shown.
    if not value.isprintable():
        raise PydanticCustomError("machines_rule", "must be printable")
    return value


VerbatimField = Annotated[Verbatim, VerbatimArgument()]
"""A field of an upstream answer."""


def collect_verbatim(value: Any) -> set[str]:
    """Every `Opaque` in a model, however deep: what the answer made of it may show whole."""
    found: set[str] = set()
    _walk(value, found.add)
    return found


# Most of what a model holds, and nothing stands in it.
_LEAVES = frozenset({str, int, float, bool, type(None), datetime})


def _walk(value: Any, tell: Callable[[str], None]) -> None:
    if type(value) in _LEAVES:
        return
    if isinstance(value, Verbatim):
        tell(str(value))
    elif isinstance(value, dict):
        for inner in value.values():
            _walk(inner, tell)
    elif isinstance(value, list | tuple):
        for inner in value:
            _walk(inner, tell)
    elif hasattr(type(value), "model_fields"):
        _walk(value.__dict__, tell)
