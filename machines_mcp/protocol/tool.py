"""A tool: an input model, an output model and an async function, joined by one decorator."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeAlias, TypeVar, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from machines_mcp.permissions.action_class import PLAIN, ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.permissions.policy import Policy
from machines_mcp.protocol.tool_input import WORDS_REFUSED as WORDS_REFUSED
from machines_mcp.protocol.tool_input import Input as Input
from machines_mcp.protocol.tool_input import UserInput as UserInput
from machines_mcp.protocol.toolset import Toolset
from machines_mcp.redaction.characters import checked_text
from machines_mcp.redaction.detectors import checked_unmasked
from machines_mcp.storage.journal import CallContext, JournalEntry

S = TypeVar("S")
In = TypeVar("In", bound="Input")
Out = TypeVar("Out", bound="Output")

Cents = Annotated[int, Field(ge=1, le=100_000_000)]
"""Money in US cents, 1 to 100,000,000 (one million dollars)."""

Text = Annotated[str, AfterValidator(checked_text)]
"""Words of a person. They are sent and shown exactly as given, or refused."""

ApprovedText = Annotated[Text, AfterValidator(checked_unmasked)]
"""Words that a person approves, so nothing in them may need a mask."""

WORDS_KEPT: dict[str, Any] = {"words": "kept"}
"""Takes those words as they are: people have such names."""


class OutputPart(BaseModel):
    """A part of an output. Its fields are an allow-list: API fields that it does not declare never pass through."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class NextStepOutput(OutputPart):
    """A suggested next call, with the arguments already known."""

    tool: str
    why: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Output(OutputPart):
    """The result of a tool. The dispatcher adds `environment` and, in embedded mode, `simulated`."""

    next_steps: list[NextStepOutput] = Field(default_factory=list)

    def summary(self) -> str:
        """Return a one-sentence summary in our own words, with only numbers and plain words from outside."""
        return "Done."

    def ephemeral(self) -> dict[str, str]:
        """Return extra values for this one result. They are never stored."""
        return {}


@dataclass(frozen=True, slots=True)
class ToolContext(Generic[S]):
    """What a tool's function gets besides its arguments."""

    user_id: str
    """The user the call acts for; empty for tools that act for no user."""
    idempotency_key: str
    """The same for every attempt at one approval; unique per call if no approval is needed."""
    services: S
    progress: Callable[[float, str], Awaitable[None]]
    """Report the progress of a wait to the client: a fraction (0 to 1) and what the wait is for."""
    logged_as: CallContext
    """How the journal records what the call sends: its approval, tool and user."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The call took effect: its output and, if the lookup found it, the id of what was created."""

    output: Output
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class NotExecuted:
    """The call had no effect, and anything it had reserved is released. `why` is a sentence for the model."""

    why: str


@dataclass(frozen=True, slots=True)
class NeedsPerson:
    """The API can't show the outcome, so a person must resolve it. `why` is a sentence for them."""

    why: str


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The outcome is not known yet: retry after `seconds`. `why` is an optional sentence for the model."""

    seconds: float
    why: str | None = None


Reconciliation: TypeAlias = Completed | NotExecuted | NeedsPerson | RetryLater
Reconcile: TypeAlias = Callable[[ToolContext[Any], Approval, Sequence[JournalEntry]], Awaitable[Reconciliation]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A registered tool: what the client sees and what authorization needs."""

    name: str
    title: str
    description: str
    toolset: Toolset
    steps: tuple[int, ...]
    input_model: type[Input]
    output_model: type[Output]
    run: Callable[[ToolContext[Any], Any], Awaitable[Output]]
    action_class_of: Callable[[Any], ActionClass]
    action_classes: tuple[ActionClass, ...]
    protective: Callable[[Any], bool]
    """Whether a call only protects the user, by its arguments."""
    locks: Callable[[Any], bool]
    """Whether a call locks a card, by its arguments."""
    approval_details: Callable[[ToolContext[Any], Any], Awaitable[ApprovalDetails]] | None
    described: frozenset[str]
    """The arguments that `approval_details` describes. All others are listed below them by name."""
    approval_page: Callable[[ToolContext[Any], Any, Approval], Awaitable[str]] | None
    reconcile: Reconcile | None
    allowed_values: Callable[[Policy], Mapping[str, Mapping[str, str]]]
    withheld: frozenset[str]
    may_lock: bool
    """Whether some of its calls lock a card."""
    idempotent: bool
    """Whether repeating a call changes nothing more."""
    read_only: bool
    """Whether every call only reads."""
    per_user: bool
    """Whether the tool acts for one user."""
    makes_user: Callable[[Mapping[str, Any]], bool]
    """Whether a call may make its user at Machines. Others need one who exists."""
    open_world: bool
    """Whether a call may send something to Machines."""
    makes: str
    """What each call makes, such as `card`, if an equal call makes a second one."""
    always_load: bool
    """Whether clients that search for tools should load it at once."""

    def classify(self, arguments: Input) -> ActionClass:
        """Return the action class of this call.

        Raises:
            ValueError: The tool does not declare this class, so the policy was never checked for it.
        """
        action_class = self.action_class_of(arguments)
        if action_class not in self.action_classes:
            raise ValueError("the tool does not declare the action class of this call")
        return action_class


def tool(
    *,
    title: str,
    toolset: Toolset,
    action_class: ActionClass | tuple[ActionClass, ...],
    idempotent: bool,
    steps: tuple[int, ...] = (),
    action_class_of: Callable[[In], ActionClass] | None = None,
    protective: Callable[[In], bool] = lambda _: False,
    locks: Callable[[In], bool] | None = None,
    approval_details: Callable[[ToolContext[S], In], Awaitable[ApprovalDetails]] | None = None,
    described: Collection[str] = (),
    approval_page: Callable[[ToolContext[S], In, Approval], Awaitable[str]] | None = None,
    reconcile: Reconcile | None = None,
    allowed_values: Callable[[Policy], Mapping[str, Mapping[str, str]]] = lambda _: {},
    makes_user: Callable[[Mapping[str, Any]], bool] = lambda _: False,
    open_world: bool = True,
    makes: str = "",
    always_load: bool = False,
    withheld: Collection[str] = (),
) -> Callable[[Callable[[ToolContext[S], In], Awaitable[Out]]], Tool]:
    """Make a `Tool` from `async def name(call, args) -> Output`. Its docstring is the description the model reads.

    `action_class`: every action class its calls can have. With more than one, `action_class_of` computes it from the
    arguments.
    `idempotent`: whether repeating a call with the same arguments changes nothing more.
    `protective`: whether a call only protects the user, as locking a card does. Freezes and shared limits spare it.
    `locks`: whether a call locks a card. Above a rate, a person is asked even if the policy allows the call.
    `approval_details`: returns the approval details and the amounts that limits count, and refuses calls that would
    fail anyway. The person also sees every argument that is not `described` in it.
    `approval_page`: shows a waiting approval on a page of its own and returns the page's address, or None to use the
    usual channels.
    `reconcile`: reconciles an interrupted call from its approval and journal entries. The arguments are not stored.
    `allowed_values`: the values of an argument that the policy allows, each with its meaning.
    `makes_user`: whether a call with these arguments may make its user at Machines. Other calls need a known one.
    `makes`: what each call makes, so that an equal one would make a second. The person and the model are told of it.
    `withheld`: the arguments that hold identity data, which errors never repeat.
    """
    action_classes = action_class if isinstance(action_class, tuple) else (action_class,)
    if not action_classes:
        raise TypeError("a tool must declare an action class")
    if (len(action_classes) > 1) != (action_class_of is not None):
        raise TypeError("action_class_of is required with, and only with, several action classes")
    if not PLAIN.issuperset(action_classes) and approval_details is None:
        raise TypeError("a tool that can require approval needs approval details")

    def register(function: Callable[[ToolContext[S], In], Awaitable[Out]]) -> Tool:
        hints = get_type_hints(function)
        parameters = list(inspect.signature(function).parameters)
        return Tool(
            name=function.__name__,
            title=title,
            description=" ".join((function.__doc__ or "").split()),
            toolset=toolset,
            steps=steps,
            input_model=hints[parameters[1]],
            output_model=hints["return"],
            run=function,
            action_class_of=action_class_of or (lambda _: action_classes[0]),
            action_classes=action_classes,
            protective=protective,
            locks=locks or (lambda _: False),
            may_lock=locks is not None,
            approval_details=approval_details,
            described=frozenset(described),
            approval_page=approval_page,
            reconcile=reconcile,
            allowed_values=allowed_values,
            withheld=frozenset(withheld),
            idempotent=idempotent,
            read_only=action_classes == (ActionClass.READ,),
            per_user=issubclass(hints[parameters[1]], UserInput),
            makes_user=makes_user,
            open_world=open_world,
            makes=makes,
            always_load=always_load,
        )

    return register
