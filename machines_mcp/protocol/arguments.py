"""Validate arguments into the tool's input model. Errors name fields and rules, never values."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from machines_mcp.protocol.approval_arguments import NAMES, ApprovalArguments, taken_from
from machines_mcp.protocol.coercion import coerce_arguments, schema_of
from machines_mcp.protocol.errors import Code, FieldError, ToolError
from machines_mcp.protocol.tool import Input, Tool
from machines_mcp.redaction.characters import character_fault
from machines_mcp.redaction.placeholders import placeholder_fault, word_fault

_NAME = re.compile(r"[a-z_]{1,40}")
In = TypeVar("In", bound=Input)

# Rules by pydantic's error type. The placeholders are filled from the schema, never from the input.
_RULES: Mapping[str, str] = {
    "missing": "is required",
    "string_type": "must be a string{example}",
    "string_too_short": "must have at least {min_length}",
    "string_too_long": "must have at most {max_length}",
    "string_pattern_mismatch": "{form}{example}",
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
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
}

_EMPTY = "must not be empty; give a value or leave it out"
_EXAMPLES: Mapping[str, Sequence[str]] = {"integer": ["20"], "number": ["25.5"]}
_NO_APPROVAL = ApprovalArguments()


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """The tool's input model, and what the call says about its approval."""

    arguments: Input
    approval: ApprovalArguments


def parse(
    tool: Tool, arguments: Mapping[str, Any], *, pinned_user: str | None, forbidden: Collection[str], asks: bool
) -> ParsedArguments:
    """Return the arguments of a call. If the tool `asks`, it takes those of the approval, too.

    Raises:
        ToolError: `input.invalid` with every invalid field.
    """
    raw = dict(arguments)
    given = taken_from(raw, tool.input_model.model_fields) if asks else {}
    approval, faults = _validated(ApprovalArguments, given) if given else (_NO_APPROVAL, [])
    faults += _taken_forbidden(raw, forbidden)
    found, more = _found(tool, raw, pinned_user)
    # A tool with its own `wait_seconds` would report it twice.
    faults = list(dict.fromkeys([*faults, *more]))
    if found is None or approval is None or faults:
        raise ToolError(Code.INPUT_INVALID, fields=faults)
    return ParsedArguments(found, approval)


def validate(tool: Tool, arguments: Mapping[str, Any], pinned_user: str | None) -> Input:
    """Return the tool's input model, built from raw arguments.

    Raises:
        ToolError: `input.invalid` with every invalid field.
    """
    found, faults = _found(tool, dict(arguments), pinned_user)
    if found is None or faults:
        raise ToolError(Code.INPUT_INVALID, fields=faults)
    return found


def _found(tool: Tool, raw: dict[str, Any], pinned_user: str | None) -> tuple[Input | None, list[FieldError]]:
    """Return the tool's input model if the arguments fit it, and every fault."""
    faults: list[FieldError] = []
    if tool.per_user and pinned_user is not None:
        if "user_id" in raw:
            rule = "is not an argument here: this server acts for one user; leave it out"
            faults.append(FieldError("user_id", rule))
        raw["user_id"] = pinned_user
    found, more = _validated(tool.input_model, raw)
    return found, faults + more


def _validated(model: type[In], raw: Mapping[str, Any]) -> tuple[In | None, list[FieldError]]:
    values = coerce_arguments(model, raw)
    unshown = _text_faults(model, values)
    found, faults = None, list[FieldError]()
    try:
        # Strict: `read` has already converted every accepted form.
        found = model.model_validate(values, strict=True)
    except ValidationError as error:
        # Errors without a place break a rule across arguments. Pydantic checks those only if nothing else is wrong.
        errors = [dict(e) for e in error.errors(include_input=False, include_url=False) if e["loc"]]
        faults = [_fault(model, each) for each in errors]
        present = {name: value for name, value in values.items() if value is not None}
        faults += [FieldError(name, rule) for name, rule in model.broken_rules(present)]
    # Raised by the caller, outside the handler, because a chained ValidationError would carry the values.
    faults = [*(FieldError(*one) for one in unshown.items()), *(one for one in faults if one.field not in unshown)]
    return found, list(dict.fromkeys(faults))


def _text_faults(model: type[Input], values: Mapping[str, Any]) -> dict[str, str]:
    """Return the path of each string that would not be shown as it is, or stands for no value, with the rule."""
    properties = schema_of(model)["properties"]
    known = [(name, value) for name, value in values.items() if name in properties]
    texts: list[tuple[tuple[str | int, ...], Any]] = [((name,), value) for name, value in known]
    empty = {name for name, value in known if value == "" and properties[name].get("words") == "refused"}
    texts += [((name, at), part) for name, value in known if isinstance(value, list) for at, part in enumerate(value)]
    rules = ((loc, _text_fault(properties[loc[0]], loc, text)) for loc, text in texts if isinstance(text, str))
    unshown = {name: _EMPTY for name in empty.difference(schema_of(model).get("required", ()))}
    return unshown | {_path(model, loc): rule for loc, rule in rules if rule is not None}


def _text_fault(schema: Mapping[str, Any], loc: tuple[str | int, ...], text: str) -> str | None:
    fault = character_fault(text)
    if fault is None and schema.get("words") == "refused":
        fault = word_fault(text)
    return placeholder_fault(text) if fault is None and loc == ("user_id",) else fault


def _taken_forbidden(arguments: dict[str, Any], forbidden: Collection[str]) -> list[FieldError]:
    """Remove the arguments that the policy does not accept from the model, and return a fault for each."""
    rule = "is not accepted from you; call without it, and the user types it into a form on this machine"
    found = [name for name in arguments if name in forbidden]
    for name in found:
        del arguments[name]
    return [FieldError(name, rule) for name in found]


def _fault(model: type[Input], error: dict[str, Any]) -> FieldError:
    schema, context = _schema(model, error["loc"]), error.get("ctx", {})
    kind, unit = str(error["type"]), "item" if schema.get("type") == "array" else "character"
    context |= {name: _count(context[name], unit) for name in ("min_length", "max_length") if name in context}
    context |= {"form": schema.get("form") or f"must match {context.get('pattern')}"}
    context |= {"example": _example(model, error["loc"])}
    if kind == "extra_forbidden":
        return _unknown(model, error["loc"])
    if kind == "machines_rule":
        rule = str(error["msg"])
    else:
        rule = _RULES.get(kind, "is not valid").format_map({k: _plain(v) for k, v in context.items()})
    return FieldError(_path(model, error["loc"]), rule)


def _example(model: type[Input], loc: tuple[str | int, ...]) -> str:
    """Return the end of a rule: an example of a valid value, from the schema and never from the input."""
    name, schema = str(loc[0]) if loc else "", _schema(model, loc)
    if name.endswith("_cents"):
        return " of US cents, such as 2500 for $25.00"
    given = schema.get("examples") or _EXAMPLES.get(schema.get("type", ""))
    if schema.get("type") == "array":
        given = [json.dumps(schema.get("items", {}).get("enum", [])[:1])]
    return f", such as {given[0]}" if given else ""


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _schema(model: type[Input], loc: tuple[str | int, ...]) -> Mapping[str, Any]:
    """Return the schema of an argument; empty for a part of one, or for a name that is none."""
    found: Mapping[str, Any] = schema_of(model)["properties"].get(loc[0], {}) if len(loc) == 1 else {}
    return found


def _plain(value: Any) -> str:
    return str(value).replace(" or ", ", ") if isinstance(value, str) else str(value)


def _unknown(model: type[Input], loc: tuple[str | int, ...]) -> FieldError:
    near = _near(model, loc[-1])
    hint = f"did you mean {near}?" if near else "send only the arguments of its input schema"
    return FieldError(_path(model, loc), f"is not an argument of this tool; {hint}")


def _near(model: type[Input], name: str | int) -> str | None:
    """Return the argument that a name is probably meant for."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    import difflib

    return next(iter(difflib.get_close_matches(name, list(model.model_fields), n=1)), None)


def _path(model: type[Input], loc: tuple[str | int, ...]) -> str:
    # An unknown name could be anything, even a person's: repeat only our own names and those close to one.
    known = {*model.model_fields, *NAMES, "user_id"}
    parts = [str(p) if isinstance(p, int) or p in known or _near(model, p) else "(unnamed)" for p in loc]
    return ".".join(parts) or "(arguments)"
