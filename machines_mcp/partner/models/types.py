"""Field types of the models: lenient in what we accept from the API, strict in what we send."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StringConstraints

from machines_mcp.partner.formats.addresses import address_fault, contract_fault
from machines_mcp.redaction.characters import checked_text

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
# Larger integers lose precision in JSON parsers that use doubles.
MAX_WHOLE = 2**53 - 1


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _moment(value: object) -> datetime:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e10:
        moment = datetime.fromtimestamp(value, UTC)
    elif isinstance(value, datetime):
        moment = value
    elif isinstance(value, str):
        moment = datetime.fromisoformat(value)
    else:
        raise ValueError("not a time")
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
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
Number = Annotated[float, Field(strict=True)]
Flag = StrictBool
# ISO 8601 or Unix seconds, converted to UTC.
Moment = Annotated[datetime, BeforeValidator(_moment)]

# Types for requests.
Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(checked_text)]
UserId = Annotated[Text, StringConstraints(max_length=120)]
ShortText = Annotated[Text, StringConstraints(max_length=120)]
LongText = Annotated[Text, StringConstraints(max_length=1000)]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
# Visible ASCII without spaces: addresses, memos, ids, cursors.
Visible = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$")]
Cursor = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,1024}$")]
EvmAddress = Annotated[str, AfterValidator(lambda value: _valid(value, address_fault("ethereum", value)))]
# A token or an account on a network that holds collateral.
ContractAddress = Annotated[Visible, AfterValidator(lambda value: _valid(value, contract_fault(value)))]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
PositiveWhole = Annotated[int, Field(ge=1, le=MAX_WHOLE)]
PositiveNumber = Annotated[float, Field(gt=0, le=MAX_WHOLE)]
PageSize = Annotated[int, Field(ge=1, le=100)]
