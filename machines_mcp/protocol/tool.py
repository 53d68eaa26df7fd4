"""A tool: an input model, an output model and an async function, joined by one decorator."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.permissions.policy import Policy
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument
from machines_mcp.storage.journal import JournalEntry

S = TypeVar("S")
In = TypeVar("In", bound="Input")
Out = TypeVar("Out", bound="Output")

Toolset = Literal["onboarding", "funding", "withdrawals", "cards", "observe", "always"]


def _plain_id(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise PydanticCustomError("machines_rule", "must be printable and not begin or end with a space")
    return value


Cents = Annotated[int, Field(ge=1, le=100_000_000)]
"""Money in US cents, 1 to 100,000,000 (one million dollars)."""

WaitSeconds = Annotated[int, Field(ge=0, le=50, description="Wait this long for a change")]
"""How long a call may wait for a change before it answers `still_waiting`."""


class Input(BaseModel):
    """The arguments of a tool. Unknown ones are refused: a misspelt limit must not vanish."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class UserInput(Input):
    """The arguments of a tool that acts for one user; left out of the schema where the server is pinned to one."""

    user_id: Annotated[Verbatim, VerbatimArgument(min_length=1, max_length=120), AfterValidator(_plain_id)]


class OutputPart(BaseModel):
    """A part of an output: an allow-list of fields, so that nothing passes through by accident."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class NextStepOutput(OutputPart):
    """A call that makes sense next, with the arguments already known."""

    tool: str
    why: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Output(OutputPart):
    """What a tool returns. The dispatcher adds `environment` and, where nothing is real, `simulated`."""

    next_steps: list[NextStepOutput] = Field(default_factory=list)

    def summary(self) -> str:
        """What matters of it, in a sentence of our own words: of what comes from outside, numbers and plain words."""
        return "Done."

    def ephemeral(self) -> dict[str, str]:
        """Values that this one answer shows beside the fields, and that no stored outcome ever holds."""
        return {}


@dataclass(frozen=True, slots=True)
class Call(Generic[S]):
    """What a tool's function gets beside its arguments."""

    user_id: str
    """The user the call acts for; empty for tools that act for nobody."""
    idempotency_key: str
    """One per intent, or one per call where nobody is asked: the same for every attempt at the same thing."""
    services: S
    progress: Callable[[float, str], Awaitable[None]]
    """Tell the client how far along a wait is (0 to 1) and what is waited for."""


@dataclass(frozen=True, slots=True)
class Completed:
    """It happened: what the call would have returned, and the id of what was made, where it was found just now."""

    output: Output
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class NotExecuted:
    """Nothing happened, and whatever the call had taken for it is given back. `why` is a sentence for the model."""

    why: str


@dataclass(frozen=True, slots=True)
class NeedsPerson:
    """Nobody can tell by asking the API, so a person must. `why` is a sentence for them."""

    why: str


@dataclass(frozen=True, slots=True)
class RetryLater:
    """It can't be told yet: look again in so many seconds. `why` is a sentence for the model, where more is known."""

    seconds: float
    why: str | None = None


Reconciliation: TypeAlias = Completed | NotExecuted | NeedsPerson | RetryLater
Reconcile: TypeAlias = Callable[[Call[Any], Approval, Sequence[JournalEntry]], Awaitable[Reconciliation]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A registered tool. Everything the client sees and the gate asks about it."""

    name: str
    title: str
    description: str
    toolset: Toolset
    steps: tuple[int, ...]
    input_model: type[Input]
    output_model: type[Output]
    run: Callable[[Call[Any], Any], Awaitable[Output]]
    action_class_of: Callable[[Any], ActionClass]
    action_classes: tuple[ActionClass, ...]
    approval_details: Callable[[Call[Any], Any], Awaitable[ApprovalDetails]] | None
    approval_page: Callable[[Call[Any], Any, Approval], Awaitable[str | None]] | None
    reconcile: Reconcile | None
    allowed_values: Callable[[Policy], Mapping[str, Mapping[str, str]]]
    destructive: bool
    idempotent: bool
    open_world: bool

    @property
    def read_only(self) -> bool:
        """Whether no arguments can make it change anything."""
        return self.action_classes == (ActionClass.READ,)

    def classify(self, arguments: Input) -> ActionClass:
        """The class of this call.

        Raises:
            ValueError: It is none that the tool declares, so the policy was never asked about it.
        """
        action_class = self.action_class_of(arguments)
        if action_class not in self.action_classes:
            raise ValueError("a call of a class that its tool does not declare")
        return action_class

    @property
    def per_user(self) -> bool:
        """Whether it acts for one user."""
        return issubclass(self.input_model, UserInput)


def tool(
    *,
    title: str,
    toolset: Toolset,
    action_class: ActionClass | tuple[ActionClass, ...],
    steps: tuple[int, ...] = (),
    action_class_of: Callable[[In], ActionClass] | None = None,
    approval_details: Callable[[Call[S], In], Awaitable[ApprovalDetails]] | None = None,
    approval_page: Callable[[Call[S], In, Approval], Awaitable[str | None]] | None = None,
    reconcile: Reconcile | None = None,
    allowed_values: Callable[[Policy], Mapping[str, Mapping[str, str]]] = lambda _: {},
    destructive: bool = False,
    idempotent: bool = True,
    open_world: bool = True,
) -> Callable[[Callable[[Call[S], In], Awaitable[Out]]], Tool]:
    """Make a `Tool` of `async def name(call, args) -> Output`; its docstring is the description the model reads.

    `effect` names every class its calls can have; with more than one, `effect_of` computes it from the arguments.
    `stakes` says what the person reads and what limits count, and refuses what could not be done anyway before
    anybody is asked. `present` shows a waiting intent on a page of its own, where the call needs one, and returns its
    address; None: the person is asked in the usual ways. `settle` finds out what became of a granted call that was cut
    short: from the intent and what the journal has of it, without the arguments, which are stored nowhere. `choices`:
    the values that a policy leaves of an argument, each with its meaning.
    """
    action_classes = action_class if isinstance(action_class, tuple) else (action_class,)
    if not action_classes:
        raise TypeError("a tool names the effect of its calls")
    if (len(action_classes) > 1) != (action_class_of is not None):
        raise TypeError("effect_of goes with more than one effect")
    if any(e not in (ActionClass.READ, ActionClass.WRITE) for e in action_classes) and approval_details is None:
        raise TypeError("a tool that can ask needs its stakes")

    def register(function: Callable[[Call[S], In], Awaitable[Out]]) -> Tool:
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
            approval_details=approval_details,
            approval_page=approval_page,
            reconcile=reconcile,
            allowed_values=allowed_values,
            destructive=destructive,
            idempotent=idempotent,
            open_world=open_world,
        )

    return register
