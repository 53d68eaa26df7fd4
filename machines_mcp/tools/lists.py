"""Lists in pages: the arguments that choose a page, and what a result says about the rest."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from machines_mcp.partner.vocabulary import MAX_CURSOR
from machines_mcp.redaction.characters import checked_characters
from machines_mcp.redaction.verbatim import Identifier, IdentifierArgument

PageSize = Annotated[int, Field(ge=1, le=100, description="Most rows")]

Cursor = Annotated[
    Identifier,
    IdentifierArgument(min_length=1, max_length=MAX_CURSOR),
    AfterValidator(checked_characters),
    Field(description="The last next_cursor"),
]

NextCursor = Annotated[Identifier | None, Field(description="Give as cursor")]

Incomplete = Annotated[bool | None, Field(description="The next page can't be read")]


def rest_of_list(next_cursor: str | None, incomplete: bool | None) -> str:
    """Return the end of a list's summary: whether there is more, and whether it can be read."""
    if incomplete:
        return "; there is more, but its page can't be read"
    return "; more on the next page" if next_cursor else ""
