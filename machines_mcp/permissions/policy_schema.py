"""The schema of a policy file: its keys and their values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo
from pydantic_core import PydanticCustomError

from machines_mcp.partner.formats.payees import code_fault, payee_address_fault, payee_memo_fault
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy_chains import ChainKey, ChainSection
from machines_mcp.permissions.policy_section import Section
from machines_mcp.redaction.environment import Environment
from machines_mcp.redaction.sink import Sink
from machines_mcp.redaction.user_id import MAX_USER_ID, user_id_fault

RuleName = Literal["allow", "ask", "deny"]
# Enums of a strict model accept their members only; a file has their names.
ClassName = Annotated[ActionClass, Field(strict=False)]
EnvironmentName = Annotated[Environment, Field(strict=False)]


def _faultless(value: str, fault: str | None) -> str:
    if fault is not None:
        raise PydanticCustomError("machines_rule", "{rule}", {"rule": fault})
    return value


def _a_user_id(value: str) -> str:
    return _faultless(value, user_id_fault(value))


def _a_path(value: str) -> str:
    return _faultless(value, "must not have a NUL character; remove it" if "\0" in value else None)


def _a_code(value: str) -> str:
    return _faultless(value, code_fault(value))


def _an_address(value: str, info: ValidationInfo) -> str:
    # Without a valid network, its own fault is enough.
    return _faultless(value, payee_address_fault(info.data["network"], value) if "network" in info.data else None)


def _a_memo(value: str, info: ValidationInfo) -> str:
    return _faultless(value, payee_memo_fault(info.data["network"], value) if "network" in info.data else None)


def _first(value: int) -> int:
    if value != 1:
        raise PydanticCustomError("machines_rule", "must be 1")
    return value


def _different(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise PydanticCustomError("machines_rule", "must not repeat a value")
    return values


def _word_or_list(value: Any) -> str:
    return ":word" if isinstance(value, str) else ":list"


def _rule_or_classes(value: Any) -> str:
    return ":classes" if isinstance(value, dict) else ":rule"


Cents = Annotated[int, Field(ge=0, le=10**12)]
Times = Annotated[int, Field(ge=0, le=10**6)]
AssetCode = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_a_code)]
Address = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_an_address)]
Memo = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_a_memo)]
UserId = Annotated[str, Field(min_length=1, max_length=MAX_USER_ID), AfterValidator(_a_user_id)]
FilePath = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_a_path)]
Any_ = Annotated[Literal["any"], Tag(":word")]


class Classes(Section):
    """The rule for calls of each class: `allow`, `ask` or `deny`. By default `embedded` and `sandbox` allow `read` and
    `write` and ask for the rest; `production` allows `read` and denies the rest. Only `embedded` may allow the last
    five."""

    read: RuleName | None = Field(None, description="calls that change nothing")
    write: RuleName | None = Field(None, description="harmless changes: a session, a deposit address")
    money: RuleName | None = Field(None, description="calls that move money or let it be spent")
    identity: RuleName | None = Field(None, description="calls that submit or change the user's identity")
    consent: RuleName | None = Field(None, description="agreements by the user")
    destroy: RuleName | None = Field(None, description="calls that can't be undone")
    reveal: RuleName | None = Field(None, description="calls that show a card's number and CVC to anyone")


class Periods(Section):
    """The highest card limit for each period, in cents. Any period not listed is denied."""

    perAuthorization: Cents | None = Field(None, description="one payment; also needs `cards.unbounded`")
    per24HourPeriod: Cents | None = Field(None, description="24 hours")
    per7DayPeriod: Cents | None = Field(None, description="7 days")
    per30DayPeriod: Cents | None = Field(None, description="30 days")
    perYearPeriod: Cents | None = Field(None, description="1 year")
    allTime: Cents | None = Field(None, description="the card's lifetime")


class Cards(Section):
    """Limits for cards that are created or changed."""

    unbounded: bool = Field(False, description="allow cards with no limit, or only a limit per payment")
    max_limit_cents: Periods | None = Field(None, description="see below; default: any limit, in `production` none")


class DestinationSection(Section):
    """A withdrawal destination, spelled as `list_withdrawal_assets` spells it. It follows the rules of
    `quote_withdrawal`: one that the tool would refuse is refused here, with the key and the reason."""

    currency: AssetCode = Field(description="for example `usdc`")
    network: AssetCode = Field(description="for example `base`")
    address: Address = Field(description="the full address")
    extra_id: Memo | None = Field(None, description="the memo, tag or payment id; omit it if there is none")


class Withdrawals(Section):
    """Limits on withdrawals. Omitted limits do not apply. `production` allows no withdrawals without the first two and
    `destinations`."""

    per_call_cents: Cents | None = Field(None, description="maximum for one withdrawal")
    per_day_cents: Cents | None = Field(None, description="maximum total per day (UTC)")
    per_user_day_cents: Cents | None = Field(None, description="maximum per user and day; default: no extra limit")
    destinations: (
        Annotated[Any_ | Annotated[list[DestinationSection], Tag(":list")], Discriminator(_word_or_list)] | None
    ) = Field(None, description="allowed destinations, see below")


class TotalRates(Section):
    """Rate limits for all users together. Default: ten times the limit of each user. They can't be lower than that."""

    asks_per_minute: Times | None = Field(None, description="approval requests per minute")
    mutations_per_hour: Times | None = Field(None, description="calls per hour that change anything")


class Rates(Section):
    """Rate limits of each user."""

    asks_per_minute: Times | None = Field(
        None, description="approval requests per minute; default: unlimited, in `production` 5"
    )
    mutations_per_hour: Times | None = Field(
        None, description="calls per hour that change anything; default: unlimited, in `production` 20"
    )
    reveals_per_card_per_day: Times | None = Field(
        None, description="reveals of one card per day; default: unlimited, in `production` 3"
    )
    locks_per_hour: Times | None = Field(
        None, description="cards of a user that calls may lock per hour without approval; default: 5"
    )
    total: TotalRates = Field(TotalRates(), description="limits for all users together, see below")


class Reveal(Section):
    """Where a card's number and CVC may be shown. `none` (decrypted, verified, discarded) is always allowed."""

    sinks: Annotated[list[Sink], AfterValidator(_different)] | None = Field(
        None, description="default: the sinks enabled below, and `page` outside `production`"
    )
    model: bool = Field(False, description="allow the AI and its provider to see cards")
    model_cvc: bool = Field(False, description="allow them to see the CVC, too")
    sealed_key: FilePath | None = Field(None, description="file with the public key that `sealed` encrypts to")
    may_copy: bool = Field(
        False,
        alias="copy",
        description="buttons on the card's page that copy number and CVC; [what it risks](security.md#not-covered)",
    )


class Identity(Section):
    """What the model may see of the identity check. It never sees the provider's own words."""

    through_model: bool | None = Field(
        None,
        description="`false`: data only through a form at the desk; default: `true`, in `production` `false`",
    )
    link_to_model: bool | None = Field(
        None,
        description="`false`: the link of the check only at the desk; default: `true`, in `production` `false`",
    )


class ApprovalSection(Section):
    """Where a person may approve, and how much waits for them. The desk and a terminal are always allowed."""

    dialog: Annotated[list[ClassName], AfterValidator(_different)] | None = Field(
        None, description="classes that the client's dialog may approve; default: all, in `production` `write`"
    )
    waiting_per_user: Times | None = Field(None, description="most approvals of a user that wait at once; default: 20")


class Audit(Section):
    """The audit log."""

    head_file: FilePath | None = Field(None, description="file for the newest checkpoint of the chain, kept elsewhere")


class Retention(Section):
    """How long `machines-mcp state prune` keeps what it may delete."""

    days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(None, description="default: 90")


class PolicyFile(Section):
    """The keys above the first section, `[tools]` and `[chain]`."""

    version: Annotated[int, AfterValidator(_first)] = Field(description="version of the file format")
    environment: EnvironmentName = Field(description="the `MACHINES_ENV` it applies to")
    users: (
        Annotated[
            Any_
            | Annotated[list[UserId], Field(min_length=1, max_length=10_000), AfterValidator(_different), Tag(":list")],
            Discriminator(_word_or_list),
        ]
        | None
    ) = Field(None, description="users that calls may act for; required outside `embedded` without `MACHINES_USER_ID`")
    classes: Classes = Field(Classes(), description="rules per class")
    tools: dict[
        str,
        Annotated[
            Annotated[RuleName, Tag(":rule")] | Annotated[Classes, Tag(":classes")], Discriminator(_rule_or_classes)
        ],
    ] = Field({}, description="rules per tool: one rule, or one for each of its classes")
    cards: Cards = Field(Cards(), description="card limits")
    withdrawals: Withdrawals = Field(Withdrawals(), description="withdrawal limits")
    chain: dict[ChainKey, ChainSection] = Field({}, description="a table per chain id for withdrawals, see below")
    rates: Rates = Field(Rates(), description="rate limits")
    reveal: Reveal = Field(Reveal(), description="where cards may be shown")
    identity: Identity = Field(Identity(), description="how identity data is submitted")
    approval: ApprovalSection = Field(ApprovalSection(), description="where a person may approve")
    audit: Audit = Field(Audit(), description="the audit log")
    retention: Retention = Field(Retention(), description="how long old rows are kept")
