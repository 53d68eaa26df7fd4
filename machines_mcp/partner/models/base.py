"""Base models. Responses tolerate unknown and odd fields, request bodies are strict, and no error quotes a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from machines_mcp.partner.envelope import Envelope
from machines_mcp.partner.errors import InvalidRequest, Malformed
from machines_mcp.partner.models.types import AS_IT_CAME, PollMilliseconds
from machines_mcp.partner.request import Request

M = TypeVar("M", bound=BaseModel)
A = TypeVar("A", bound="ResponseModel")


def documented(default: Any = None) -> Any:
    """Declare a field that the API documents as always present, without which a response can still be used."""
    return Field(default=default, json_schema_extra={"documented": True})


def is_documented(field: FieldInfo) -> bool:
    """Whether the API documents this field of a response as always present."""
    return field.is_required() or field.json_schema_extra == {"documented": True}


class NextHint(BaseModel):
    """Upstream's suggestion. `poll_after_ms` is in milliseconds. Its text is untrusted; clean it before use."""

    model_config = ConfigDict(
        populate_by_name=True, alias_generator=to_camel, frozen=True, extra="ignore", defer_build=True, strict=True
    )

    poll_after_ms: PollMilliseconds | None = None
    suggested_tool: str | None = None
    suggested_args: dict[str, Any] | None = None


class ResponseModel(BaseModel):
    """Base class of responses: frozen, camelCase on the wire, unknown fields ignored, `""` is absent.

    An optional field with an unusable value is left out, and named in `odd`: one such value must hide neither what
    happened nor the other records of a list. With the context `AS_IT_CAME`, every such value is an error.
    """

    model_config = ConfigDict(
        populate_by_name=True,
        alias_generator=to_camel,
        frozen=True,
        extra="ignore",
        defer_build=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    _hint: NextHint | None = PrivateAttr(default=None)
    _odd: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="wrap")
    @classmethod
    def _without_odd_fields(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if info.context is AS_IT_CAME or not isinstance(data, dict):
            return handler(data)
        given = {name: value for name, value in data.items() if value != ""}
        try:
            return handler(given)
        except ValidationError as error:
            odd = {fault["loc"][0] for fault in error.errors(include_url=False, include_context=False)}
        names = {name: field.alias or name for name, field in cls.model_fields.items() if not field.is_required()}
        left_out = frozenset(name for name, alias in names.items() if odd & {name, alias})
        kept = {key: value for key, value in given.items() if not any(key in (n, names[n]) for n in left_out)}
        read = handler(kept)
        read._odd = left_out
        return read

    @property
    def odd(self) -> frozenset[str]:
        """The fields that had a value of the wrong type or out of range. They are None, or their default."""
        return self._odd

    @property
    def hint(self) -> NextHint | None:
        """The envelope's `next`, or None if it was missing or invalid. Never part of a dump."""
        return self._hint

    def with_hint(self, hint: NextHint | None) -> Self:
        """Return a copy of this response with `hint`."""
        hinted = self.model_copy()
        hinted._hint = hint
        return hinted


class RequestModel(BaseModel):
    """Base class of request bodies: no unknown fields, validated on creation.

    Raises:
        InvalidRequest: A value is missing or invalid. `field` names it; the error does not contain the value.
    """

    model_config = ConfigDict(
        populate_by_name=True,
        alias_generator=to_camel,
        frozen=True,
        extra="forbid",
        defer_build=True,
        loc_by_alias=False,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        strict=True,
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
        else:
            return
        name = place[0] if place else None
        refuse_value(name if isinstance(name, str) and name in type(self).model_fields else None)

    def to_json(self) -> dict[str, Any]:
        """Return the body as JSON values, without those that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_query(self) -> dict[str, str]:
        """Return the values as query parameters, without those that are None."""
        return {name: str(value) for name, value in self.to_json().items()}


def refuse_value(field: str | None) -> NoReturn:
    """Refuse a value before anything is sent.

    Raises:
        InvalidRequest: Always.
    """
    raise InvalidRequest(field=field)


@dataclass(frozen=True, slots=True, repr=False)
class ReceivedResponse:
    """A successful response before parsing. `model` is the model expected in its data, or in its value at `key`."""

    request: Request
    envelope: Envelope
    model: type[ResponseModel]
    key: str | None = None


# Called with each successful response before it is parsed.
OnAnswer = Callable[[ReceivedResponse], None]


def parse(model: type[A], envelope: Envelope, *, key: str | None = None, mutates: bool = False) -> A:
    """Parse the data of a successful response, or its value at `key`, as a model.

    Raises:
        Malformed: It does not fit the model. pydantic's error quotes values, so it is not even the context.
    """
    response = _validated(model, envelope.data if key is None else envelope.data.get(key))
    if response is None:
        raise Malformed(outcome_known=not mutates)
    return response if envelope.next is None else response.with_hint(_validated(NextHint, envelope.next))


def _validated(model: type[M], value: object) -> M | None:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None
