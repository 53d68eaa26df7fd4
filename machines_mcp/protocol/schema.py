"""Build JSON Schemas that every client accepts: flat, without `$ref`, titles, null arms or top-level `anyOf`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from machines_mcp.protocol.approval_arguments import ApprovalArguments
from machines_mcp.protocol.tool import Tool

_ALPHABET = re.compile(r"\^\[[^\]]+\](?:\{(?:\d+,)?(\d+)\}|\+)\$")


def input_schema(
    tool: Tool, *, pinned: bool, asks: bool, choices: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, Any]:
    """Return the schema of a tool's arguments.

    `pinned`: the server acts for one user, so `user_id` is left out. `asks`: calls may need approval, so its arguments
    are added. `choices`: the allowed values of an argument and their meanings. An argument without allowed values is
    left out.
    """
    schema = flat_schema(tool.input_model, "validation")
    for name, values in (choices or {}).items():
        if not values:
            del schema["properties"][name]
            continue
        meanings = "; ".join(f"{value}: {meaning}" for value, meaning in values.items())
        schema["properties"][name] |= {"enum": list(values), "description": meanings}
    if pinned and tool.per_user:
        del schema["properties"]["user_id"]
        schema["required"] = [name for name in schema.get("required", []) if name != "user_id"]
    if asks:
        schema["properties"] |= {
            name: property
            for name, property in flat_schema(ApprovalArguments, "validation")["properties"].items()
            if name not in schema["properties"]
        }
    if not schema.get("required"):
        schema.pop("required", None)
    return schema


def output_schema(tool: Tool) -> dict[str, Any]:
    """Return the schema of a tool's structured result.

    It is open: the server's instructions describe `environment`, `simulated` and `next_steps`, which every result may
    have. Here the model would read them with every tool.
    """
    schema = flat_schema(tool.output_model, "serialization")
    del schema["properties"]["next_steps"]
    return schema


def flat_schema(
    model: type[BaseModel], mode: Literal["validation", "serialization"], *, examples: bool = False
) -> dict[str, Any]:
    """Return the model's schema with references inlined and noise removed.

    Arguments stay closed (`additionalProperties: false`). Results are open, so that fields can be added. `examples`
    are only for error messages: they would make `tools/list` too long. With them come `words`, see `tool.WORDS_KEPT`,
    and `form`, the rule that a pattern stands for.
    """
    schema = model.model_json_schema(mode=mode)
    definitions = schema.pop("$defs", {})
    flat: dict[str, Any] = _Flattener(definitions, closed=mode == "validation", examples=examples).flatten(schema)
    flat.pop("description", None)
    flat.setdefault("properties", {})
    return flat


class _Flattener:
    def __init__(self, definitions: dict[str, Any], *, closed: bool, examples: bool) -> None:
        self._definitions = definitions
        self._closed = closed
        self._examples = examples
        self._noisy = {"title"} if examples else {"title", "examples", "words", "form"}
        if not closed:
            # A model reads the results themselves, so what they always have and its form need not be listed.
            self._noisy |= {"format", "pattern", "required"}

    def flatten(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.flatten(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = self._without_alphabet(self._without_null(self._resolved(node)))
        return {key: self._value(key, value) for key, value in node.items() if not self._noise(key, value)}

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        target = self._definitions[node["$ref"].rsplit("/", 1)[1]]
        # A class's docstring is for developers, not for the model.
        inherited = {key: value for key, value in target.items() if key != "description"}
        return self._resolved(inherited | {key: value for key, value in node.items() if key != "$ref"})

    def _without_null(self, node: dict[str, Any]) -> dict[str, Any]:
        arms = [arm for arm in node.get("anyOf", []) if arm.get("type") != "null"]
        if len(arms) != 1:
            return node | {"anyOf": arms} if arms else node
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return self._without_null(self._resolved(arms[0] | rest))

    def _without_alphabet(self, node: dict[str, Any]) -> dict[str, Any]:
        """Replace a pattern that names only characters and a length by the length: ids and codes are copied."""
        bounds = _ALPHABET.fullmatch(node.get("pattern", ""))
        if self._examples or bounds is None:
            return node
        length = {"maxLength": int(bounds[1])} if bounds[1] else {}
        return {key: value for key, value in node.items() if key != "pattern"} | length

    def _value(self, key: str, value: Any) -> Any:
        if key == "properties":
            return {name: self.flatten(schema) for name, schema in value.items()}
        return value if key in ("enum", "const", "required", "examples") else self.flatten(value)

    def _noise(self, key: str, value: Any) -> bool:
        if key == "default":
            return value in (None, [], {})
        if key == "minLength" and not self._examples:
            # Nobody sends an empty text on purpose, and its error says what to do.
            return bool(value == 1)
        return key in self._noisy or (key == "additionalProperties" and not self._closed)
