"""The base of every tool's input model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from machines_mcp.redaction.characters import checked_text
from machines_mcp.redaction.user_id import MAX_USER_ID
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument

WORDS_REFUSED: dict[str, Any] = {"words": "refused"}
"""Refuses `null`, `None` and `undefined` as the whole value. Elsewhere they mean that optional text is absent."""


class Input(BaseModel):
    """The arguments of a tool. Unknown names are refused, so that a misspelt limit is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield a name and the rule for each rule across arguments that is broken. Values may have the wrong type."""
        yield from ()

    @model_validator(mode="after")
    def _follows_rules(self) -> Self:
        given = {name: getattr(self, name) for name in type(self).model_fields}
        for _, rule in self.broken_rules({name: value for name, value in given.items() if value is not None}):
            raise PydanticCustomError("machines_rule", "{rule}", {"rule": rule})
        return self


class UserInput(Input):
    """The arguments of a tool that acts for one user. A pinned server omits `user_id` from the schema."""

    user_id: Annotated[
        Verbatim,
        VerbatimArgument(min_length=1, max_length=MAX_USER_ID),
        AfterValidator(checked_text),
        Field(description="Your user's id", json_schema_extra=WORDS_REFUSED),
    ]
