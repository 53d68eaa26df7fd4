"""Text from outside: masked as a whole, then truncated.

A cut leaves half of a number or of a secret, which no detector recognizes. So every text is cut here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from machines_mcp.redaction.characters import shown
from machines_mcp.redaction.detectors import masked_text

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema
    from pydantic_core.core_schema import SerializationInfo

Mask: TypeAlias = Callable[[str, bool], str]
"""Returns a text with everything masked that must not be shown. The flag says whether the text will be cut."""
MASK_KEY = "mask"
"""The name in the context of `model_dump` of the `Mask` for the texts of an output."""
# How many characters are masked beyond those that are shown.
_MARGIN = 100_000


def mask_by_form(text: str, cut: bool) -> str:
    """Mask what can be recognized by its form. The usual `Mask` where no secrets are known."""
    return masked_text(text)


def shortened(text: str, limit: int, mask: Mask = mask_by_form) -> str:
    """Return text from outside, masked and then cut to `limit` characters."""
    # A plain string: a `ForeignText` that needs no change would stay one, and stored details can't contain it.
    whole = str(shown(text if len(text) <= limit + _MARGIN else _without_half(text[: limit + _MARGIN])))
    return cut(mask(whole, len(whole) > limit), limit)


def cut(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters. It must be masked already, unless it is our own."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _without_half(text: str) -> str:
    """Return a text without its last word and the numbers before it, which may be halves."""
    end = len(text.rpartition(" ")[0])
    while end and not text[end - 1].isalpha():
        end -= 1
    return text[:end]


class ForeignText(str):
    """Text from outside in an output. It is whole until the output is written, and is then masked and cut.

    From JSON (our own stored outcomes), any string becomes one.
    """

    limit: int

    def __new__(cls, text: str, limit: int) -> ForeignText:
        made = super().__new__(cls, text)
        made.limit = limit
        return made

    def __getnewargs__(self) -> tuple[str, int]:  # type: ignore[override]
        # Without it a copy fails, and `asdict` copies its values.
        return str(self), self.limit

    @classmethod
    def of(cls, text: str | None, limit: int) -> ForeignText | None:
        """Return text from outside, or None if there is nothing to show."""
        return cls(text, limit) if text and shown(text) else None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        made = core_schema.no_info_after_validator_function(lambda text: cls(text, len(text)), core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=made,
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _written, info_arg=True, return_schema=core_schema.str_schema()
            ),
        )


def _written(text: ForeignText, info: SerializationInfo) -> str:
    return shortened(text, text.limit, (info.context or {}).get(MASK_KEY, mask_by_form))
