"""JSON Schemas as every client accepts them: flat, without `$ref`, titles, null arms or top-level `anyOf`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from machines_mcp.protocol.tool import Tool

# What a step is stands once in the server's instructions; here it would be read two dozen times.
NEXT_STEPS: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
APPROVAL_ID: dict[str, Any] = {
    "type": "string",
    "pattern": "^[0-9a-f]{32}$",
    "description": "From approval.required, once a person approved",
}


def input_schema(tool: Tool, *, pinned: bool, asks: bool) -> dict[str, Any]:
    """The schema of a tool's arguments.

    `pinned`: the server acts for one user, so `user_id` is no argument. `asks`: a person may have to approve, so
    `approval_id` is one.
    """
    schema = flat_schema(tool.input_model, "validation")
    if pinned and tool.per_user:
        del schema["properties"]["user_id"]
        schema["required"] = [name for name in schema.get("required", []) if name != "user_id"]
    if asks:
        schema["properties"]["approval_id"] = APPROVAL_ID
    if not schema.get("required"):
        schema.pop("required", None)
    return schema


def output_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's structured result. It is open: results may grow, and `simulated` is there where it holds."""
    schema = flat_schema(tool.output_model, "serialization")
    properties = schema["properties"]
    del properties["next_steps"]
    properties["environment"] = {"type": "string"}
    properties["next_steps"] = NEXT_STEPS
    schema["required"] = [*schema.get("required", []), "environment", "next_steps"]
    return schema


def flat_schema(model: type[BaseModel], mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """The model's schema with references resolved in place and noise removed."""
    schema = model.model_json_schema(mode=mode)
    definitions = schema.pop("$defs", {})
    flat: dict[str, Any] = _flatten(schema, definitions, closed=mode == "validation")
    flat.pop("description", None)
    flat.setdefault("properties", {})
    return flat


def _flatten(node: Any, definitions: dict[str, Any], *, closed: bool) -> Any:
    """`closed` keeps `additionalProperties`: arguments are refused if unknown, results may grow."""

    if isinstance(node, list):
        return [_flatten(item, definitions, closed=closed) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        target = {k: v for k, v in target.items() if k != "description"}
        return _flatten(target | {k: v for k, v in node.items() if k != "$ref"}, definitions, closed=closed)
    if "anyOf" in node:
        arms = [arm for arm in node["anyOf"] if arm.get("type") != "null"]
        if len(arms) == 1:
            rest = {k: v for k, v in node.items() if k != "anyOf"}
            return _flatten(arms[0] | rest, definitions, closed=closed)
        node = node | {"anyOf": arms}
    cleaned = {}
    for key, value in node.items():
        if key == "properties":
            cleaned[key] = {name: _flatten(schema, definitions, closed=closed) for name, schema in value.items()}
        elif key in ("enum", "const", "required", "examples"):
            cleaned[key] = value
        elif key == "title" or (key == "default" and value in (None, [], {})):
            continue
        elif key == "additionalProperties" and not closed:
            continue
        else:
            cleaned[key] = _flatten(value, definitions, closed=closed)
    return cleaned
