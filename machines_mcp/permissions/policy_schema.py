"""The form of a policy file: its keys, what each may hold, and the sentence for what does not fit.

A sentence names a key by its dotted path and the rule that it breaks, never a value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import ErrorDetails, PydanticCustomError

RuleName = Literal["allow", "ask", "deny"]
ClassName = Literal["read", "write", "money", "identity", "consent", "destroy", "reveal"]
SinkName = Literal["none", "page", "sealed", "model"]


def _printable(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise PydanticCustomError("machines_rule", "must be printable and not begin or end with a space")
    return value


def _first(value: int) -> int:
    if value != 1:
        raise PydanticCustomError("machines_rule", "must be 1")
    return value


def _different(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise PydanticCustomError("machines_rule", "names one twice")
    return values


def _word_or_list(value: Any) -> str:
    return ":word" if isinstance(value, str) else ":list"


def _rule_or_classes(value: Any) -> str:
    return ":classes" if isinstance(value, dict) else ":rule"


Cents = Annotated[int, Field(ge=0, le=10**12)]
Times = Annotated[int, Field(ge=0, le=10**6)]
Word = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
UserId = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_printable)]
FilePath = Annotated[str, Field(min_length=1, max_length=1000)]
Any_ = Annotated[Literal["any"], Tag(":word")]


class Section(BaseModel):
    """Unknown keys are refused: a misspelt limit must not vanish. No value is taken for another type's."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Classes(Section):
    """What calls of each class may do: `allow`, `ask` or `deny`. Where one is not named, `embedded` and `sandbox` allow
    `read` and `write` and ask for the rest; `production` allows `read` and refuses the rest. Only `embedded` may allow
    the last five."""

    read: RuleName | None = Field(None, description="what changes nothing")
    write: RuleName | None = Field(None, description="what changes something harmless: a session, a deposit address")
    money: RuleName | None = Field(None, description="what moves money or lets it be spent")
    identity: RuleName | None = Field(None, description="what hands in or changes who the user is")
    consent: RuleName | None = Field(None, description="what the user agrees to")
    destroy: RuleName | None = Field(None, description="what can't be undone")
    reveal: RuleName | None = Field(None, description="what shows a card's number and CVC to anybody")


class Periods(Section):
    """The highest limit of a card for each period, in cents; a period that is not named is refused."""

    perAuthorization: Cents | None = Field(None, description="a payment; needs `cards.unbounded` too")
    per24HourPeriod: Cents | None = Field(None, description="24 hours")
    per7DayPeriod: Cents | None = Field(None, description="7 days")
    per30DayPeriod: Cents | None = Field(None, description="30 days")
    perYearPeriod: Cents | None = Field(None, description="a year")
    allTime: Cents | None = Field(None, description="the card's life")


class Cards(Section):
    """Limits of the cards that are made or changed."""

    unbounded: bool = Field(False, description="whether a card may have no limit, or one per payment only")
    max_limit_cents: Periods | None = Field(None, description="see below; left out: any limit, in `production` none")


class Place(Section):
    """A destination of withdrawals, spelled as `list_withdrawal_assets` spells it."""

    currency: Word = Field(description="such as `usdc`")
    network: Word = Field(description="such as `base`")
    address: Word = Field(description="the whole of it")
    extra_id: Word | None = Field(None, description="the memo, tag or payment id; left out: there is none")


class Withdrawals(Section):
    """Limits of the money that leaves. What is left out does not bind; in `production` nothing leaves without the first
    two and `destinations`."""

    per_call_cents: Cents | None = Field(None, description="the most that one withdrawal takes")
    per_day_cents: Cents | None = Field(None, description="the most that all withdrawals of a day (UTC) take")
    per_user_day_cents: Cents | None = Field(None, description="the same for each user; left out: as for all")
    destinations: Annotated[Any_ | Annotated[list[Place], Tag(":list")], Discriminator(_word_or_list)] | None = Field(
        None, description="where money may go, see below"
    )


class Rates(Section):
    """How often. Left out: as often as one likes; in `production` 5, 20 and 3."""

    asks_per_minute: Times | None = Field(None, description="how often a person may be asked")
    mutations_per_hour: Times | None = Field(None, description="how many calls may change anything")
    reveals_per_card_per_day: Times | None = Field(None, description="how often a card may be shown")


class Reveal(Section):
    """Where a card's number and CVC may be shown. `none` (decrypted, verified, dropped) always may."""

    sinks: Annotated[list[SinkName], AfterValidator(_different)] | None = Field(
        None, description="left out: outside `production` `page`, and what is switched on below"
    )
    model: bool = Field(False, description="whether the AI and its provider may see a card at all")
    model_cvc: bool = Field(False, description="whether they may see the CVC, too")
    sealed_key: FilePath | None = Field(None, description="the file of the public key that `sealed` encrypts to")


class Identity(Section):
    """Whether identity data may be an argument of the model's calls."""

    through_model: bool | None = Field(
        None,
        description="`false`: by a form at the desk alone; left out: `true`, in `production` `false`",
    )


class ApprovalSection(Section):
    """Where a person may say yes: always at the desk and at a terminal."""

    dialog: Annotated[list[ClassName], AfterValidator(_different)] | None = Field(
        None, description="the classes for which the client's dialog will do; left out: all, in `production` `write`"
    )


class Audit(Section):
    """The record of what was done."""

    head_file: FilePath | None = Field(None, description="a file that keeps the newest link of the chain elsewhere")


class PolicyFile(Section):
    """What stands above the first section, and `[tools]`."""

    version: Annotated[int, AfterValidator(_first)] = Field(description="the form of this file")
    environment: Literal["embedded", "sandbox", "production"] = Field(description="the `MACHINES_ENV` it is for")
    users: (
        Annotated[
            Any_
            | Annotated[list[UserId], Field(min_length=1, max_length=10_000), AfterValidator(_different), Tag(":list")],
            Discriminator(_word_or_list),
        ]
        | None
    ) = Field(
        None, description="the users that calls may act for; outside `embedded` needed without `MACHINES_USER_ID`"
    )
    classes: Classes = Field(Classes(), description="what calls of each class may do")
    tools: dict[
        str,
        Annotated[
            Annotated[RuleName, Tag(":rule")] | Annotated[Classes, Tag(":classes")], Discriminator(_rule_or_classes)
        ],
    ] = Field({}, description="what calls of one tool may do: one rule, or one for each of its classes")
    cards: Cards = Field(Cards(), description="limits of cards")
    withdrawals: Withdrawals = Field(Withdrawals(), description="limits of money that leaves")
    rates: Rates = Field(Rates(), description="how often")
    reveal: Reveal = Field(Reveal(), description="where a card may be shown")
    identity: Identity = Field(Identity(), description="how identity data is handed in")
    approval: ApprovalSection = Field(ApprovalSection(), description="where a person may say yes")
    audit: Audit = Field(Audit(), description="the record")


_RULES = {
    "missing": "is missing",
    "literal_error": "must be {expected}",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
}


def fault(error: ErrorDetails) -> str:
    """`withdrawals.per_day_cents must be a whole number`: the key at fault and the rule that it breaks."""
    where = dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where} is not a key of a policy{nearest(str(error['loc'][-1]), _keys_beside(error['loc']))}"
    if error["type"] == "machines_rule":
        return f"{where} {error['msg']}"
    return f"{where} {_RULES.get(error['type'], 'is not valid').format(**error.get('ctx', {}))}"


def dotted(loc: Sequence[int | str]) -> str:
    """`withdrawals.destinations[0].address`. A key that is no plain word came from outside and is not repeated."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith(":"):  # which arm of a union was tried
            path += ("." if path else "") + (part if re.fullmatch(r"[A-Za-z0-9_]{1,40}", part) else "(an odd key)")
    return path


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean ...?`'s clause, where something is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; the nearest is {near[0]}" if near else ""


def _keys_beside(loc: Sequence[int | str]) -> list[str]:
    above = [part for part in loc[:-1] if isinstance(part, str) and not part.startswith(":")]
    tables: dict[str, type[Section]] = {
        name: type(field.default)
        for name, field in PolicyFile.model_fields.items()
        if isinstance(field.default, Section)
    }
    tables |= {"destinations": Place, "max_limit_cents": Periods}
    if not above:
        return list(PolicyFile.model_fields)
    return list((Classes if above[0] == "tools" else tables[above[-1]]).model_fields)
