"""Field types of the models: lenient in what we accept from the API, strict in what we send."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StringConstraints, ValidationInfo

from machines_mcp.partner.formats.addresses import address_fault, contract_fault, token_fault
from machines_mcp.partner.vocabulary import CODE, MAX_CURSOR, OCCUPATION_CODE, RECORD_ID
from machines_mcp.redaction.characters import checked_characters, checked_text
from machines_mcp.redaction.verbatim import Identifier, IdentifierArgument, Verbatim, VerbatimArgument

T = TypeVar("T")

AS_IT_CAME: dict[str, object] = {}
"""The validation context that tolerates no odd value, to compare a response with its model."""

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
# Larger integers lose precision in JSON parsers that use doubles.
MAX_WHOLE = 2**53 - 1
# More of any currency is no amount.
MAX_AMOUNT = 1e15
# A row without any usable field takes three bytes on the wire, and a kilobyte in memory.
MAX_ROWS = 10_000


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole_as_text(value: object) -> object:
    """Return an integer as its digits: some APIs send tags and cursors as numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_WHOLE else value


def _rows(value: object, info: ValidationInfo) -> object:
    """Replace what is no object in a list, so that the other rows can be read."""
    if not isinstance(value, list) or info.context is AS_IT_CAME:
        return value
    if len(value) > MAX_ROWS:
        raise ValueError("the list has too many rows")
    return [row if isinstance(row, dict) else {} for row in value]


def _texts(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, list) or info.context is AS_IT_CAME:
        return value
    return [text for text in value if isinstance(text, str) and text]


def moment(value: object) -> datetime:
    """Return a time from ISO 8601 or Unix seconds, in UTC.

    Raises:
        ValueError: It is neither, or not between 2000 and 2200.
    """
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e10:
        found = datetime.fromtimestamp(value, UTC)
    elif isinstance(value, datetime):
        found = value
    elif isinstance(value, str):
        found = datetime.fromisoformat(value)
    else:
        raise ValueError("not a time")
    aware = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    # Checked before the conversion to UTC, which overflows at the ends of the calendar.
    if not _EARLIEST <= aware < _LATEST:
        raise ValueError("not a time between 2000 and 2200")
    return aware.astimezone(UTC)


def _valid(value: str, fault: str | None) -> str:
    if fault is not None:
        raise ValueError(fault)
    return value


# Types for responses. Neither a bool nor a string is a number, and 2500.0 is 2500.
Whole = Annotated[int, Field(strict=True, ge=-MAX_WHOLE, le=MAX_WHOLE), BeforeValidator(_whole)]
Cents = Whole
PollMilliseconds = Annotated[int, Field(strict=True, ge=1, le=86_400_000), BeforeValidator(_whole)]
Number = Annotated[float, Field(strict=True, ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
Amount = Annotated[float, Field(strict=True, ge=0, le=MAX_AMOUNT)]
LimitCents = Annotated[int, Field(strict=True, ge=0, le=MAX_WHOLE), BeforeValidator(_whole)]
ChainId = Annotated[int, Field(strict=True, ge=1, le=MAX_WHOLE), BeforeValidator(_whole)]
PauseSeconds = Annotated[float, Field(strict=True, ge=0, le=86_400)]
Month = Annotated[int, Field(strict=True, ge=1, le=12), BeforeValidator(_whole)]
Year = Annotated[int, Field(strict=True, ge=2000, le=2199), BeforeValidator(_whole)]
# `[0-9]` and not `\d`, which matches the digits of every script.
Last4 = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")]
Flag = StrictBool
# An id or a cursor that looks like a card number is left out, as any other unusable value.
RecordId = Annotated[Identifier, IdentifierArgument(pattern=RECORD_ID)]
OwnId = Annotated[Identifier, IdentifierArgument(min_length=1, max_length=1024), AfterValidator(checked_characters)]
CodeName = Annotated[str, StringConstraints(pattern=CODE)]
OccupationCode = Annotated[str, StringConstraints(pattern=OCCUPATION_CODE)]
# The partner's own id of the user, which the response must repeat.
RepeatedUserId = Annotated[
    Verbatim, VerbatimArgument(min_length=1, max_length=1024), AfterValidator(checked_characters)
]
PageCursor = Annotated[
    Identifier,
    IdentifierArgument(min_length=1, max_length=MAX_CURSOR),
    AfterValidator(checked_characters),
    BeforeValidator(whole_as_text),
]
Rows = Annotated[tuple[T, ...], BeforeValidator(_rows)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
# ISO 8601 or Unix seconds, converted to UTC.
Moment = Annotated[datetime, BeforeValidator(moment)]

# Types for requests.
Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(checked_text)]
UserId = Annotated[Text, StringConstraints(max_length=120)]
ShortText = Annotated[Text, StringConstraints(max_length=120)]
LongText = Annotated[Text, StringConstraints(max_length=1000)]
Code = CodeName
# Visible ASCII without spaces: addresses and memos.
Visible = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$")]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CURSOR), AfterValidator(checked_characters)]
EvmAddress = Annotated[str, AfterValidator(lambda value: _valid(value, address_fault("ethereum", value)))]
# On a network that holds collateral.
TokenAddress = Annotated[Visible, AfterValidator(lambda value: _valid(value, token_fault(value)))]
ContractAddress = Annotated[Visible, AfterValidator(lambda value: _valid(value, contract_fault(value)))]
GivenId = Annotated[str, StringConstraints(pattern=RECORD_ID)]
PositiveWhole = Annotated[int, Field(ge=1, le=MAX_WHOLE)]
PositiveNumber = Annotated[float, Field(gt=0, le=MAX_WHOLE)]
PageSize = Annotated[int, Field(ge=1, le=100)]
