"""Arguments in, a validated model out; or the faults by field and rule, never by value."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from machines_mcp.protocol.coercion import read, schema_of
from machines_mcp.protocol.errors import Code, FieldError, ToolError
from machines_mcp.protocol.tool import Input, Tool

_NAME = re.compile(r"[a-z_]{1,40}")
_APPROVAL_ID = re.compile(r"[0-9a-f]{32}")

# Rules by pydantic's error type; the numbers in braces come from the schema, never from the input.
_RULES: Mapping[str, str] = {
    "missing": "is required",
    "string_type": "must be a string{example}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}{example}",
    "int_type": "must be a whole number{example}",
    "float_type": "must be a number{example}",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "literal_error": "must be one of: {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "model_type": "must be an object",
    "list_type": "must be a list{example}",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}

_EXAMPLES: Mapping[str, Sequence[str]] = {"integer": ["20"], "number": ["25.5"]}


def take_approval_id(tool: Tool, arguments: dict[str, Any], *, asks: bool) -> str | None:
    """Remove and return `approval_id`, an argument of the call rather than of the tool.

    Raises:
        Refusal: It is malformed, or this tool never asks.
    """
    if "approval_id" not in arguments or not asks:
        return None
    value = arguments.pop("approval_id")
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _APPROVAL_ID.fullmatch(value):
        rule = "must be the approval_id of an approval.required answer; leave it out to ask anew"
        raise ToolError(Code.INPUT_INVALID, faults=[FieldError("approval_id", rule)])
    return value


def validate(tool: Tool, arguments: Mapping[str, Any], pinned_user: str | None) -> Input:
    """The tool's input model from raw arguments.

    Raises:
        Refusal: `input.invalid` with every field at fault.
    """
    raw = dict(arguments)
    if tool.per_user and pinned_user is not None:
        if "user_id" in raw:
            rule = "is not an argument here: the server acts for one user; leave it out"
            raise ToolError(Code.INPUT_INVALID, faults=[FieldError("user_id", rule)])
        raw["user_id"] = pinned_user
    try:
        # Strict: what only looks like a number or a yes is none. What may be meant was read before.
        return tool.input_model.model_validate(read(tool.input_model, raw), strict=True)
    except ValidationError as error:
        faults = [_fault(tool, dict(e)) for e in error.errors(include_input=False, include_url=False)]
    # Raised outside the handler: a chained ValidationError would carry the values along.
    raise ToolError(Code.INPUT_INVALID, faults=list(dict.fromkeys(faults)))


def refuse_closed(arguments: Mapping[str, Any], closed: Collection[str]) -> None:
    """Refuse arguments that the policy does not let pass through the model.

    Raises:
        Refusal: `input.invalid` with each of them.
    """
    rule = "is not taken from you here; call without it, and the user types it into a form on this machine"
    faults = [FieldError(name, rule) for name in arguments if name in closed]
    if faults:
        raise ToolError(Code.INPUT_INVALID, faults=faults)


def _fault(tool: Tool, error: dict[str, Any]) -> FieldError:
    context = error.get("ctx", {}) | {"example": _example(tool, error["loc"])}
    kind = str(error["type"])
    if kind == "extra_forbidden":
        return _unknown(tool, error["loc"])
    if kind == "machines_rule":
        rule = str(error["msg"])
    else:
        rule = _RULES.get(kind, "is not valid").format_map({k: _plain(v) for k, v in context.items()})
    return FieldError(_path(tool, error["loc"]), rule)


def _example(tool: Tool, loc: tuple[str | int, ...]) -> str:
    """Words that end a rule with a value that keeps it, of our own making."""
    name = str(loc[0]) if loc else ""
    schema = schema_of(tool.input_model)["properties"].get(name, {}) if len(loc) == 1 else {}
    if name.endswith("_cents"):
        return " of US cents, such as 2500 for $25.00"
    given = schema.get("examples") or _EXAMPLES.get(schema.get("type", ""))
    if schema.get("type") == "array":
        given = [json.dumps(schema.get("items", {}).get("enum", [])[:1])]
    return f", such as {given[0]}" if given else ""


def _plain(value: Any) -> str:
    return str(value).replace(" or ", ", ") if isinstance(value, str) else str(value)


def _unknown(tool: Tool, loc: tuple[str | int, ...]) -> FieldError:
    near: list[str] = []
    last = str(loc[-1])
    if _NAME.fullmatch(last):
        near = difflib.get_close_matches(last, list(tool.input_model.model_fields), n=1)
    hint = f"; did you mean {near[0]}?" if near else "; leave it out"
    return FieldError(_path(tool, loc), "is not an argument of this tool" + hint)


def _path(tool: Tool, loc: tuple[str | int, ...]) -> str:
    # A name that came from outside can be anything, a card number too: only ours and plain ones are repeated.
    known = tool.input_model.model_fields
    parts = [str(p) if isinstance(p, int) or p in known or _NAME.fullmatch(p) else "(unnamed)" for p in loc]
    return ".".join(parts) or "(arguments)"
