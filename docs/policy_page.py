"""Generate the tables of docs/policy.md: the keys from the schema, the defaults from the default policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Policy, Rule, default_policy
from machines_mcp.permissions.policy_chains import ChainSection, TokenSection
from machines_mcp.permissions.policy_schema import Classes, DestinationSection, Periods, PolicyFile, TotalRates
from machines_mcp.permissions.policy_section import Section

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "policy.md"
_PART = "<!-- {0}: made by `make docs` -->\n"
_ENVIRONMENTS = ("embedded", "sandbox", "production")
_TABLES: tuple[tuple[str, type[Section]], ...] = (
    ("classes", Classes),
    *(
        (name, type(field.default))
        for name, field in PolicyFile.model_fields.items()
        if name not in ("classes", "tools")
    ),
    ("cards.max_limit_cents", Periods),
    ("rates.total", TotalRates),
    ("withdrawals.destinations", DestinationSection),
    ("chain.<chain id>", ChainSection),
    ("chain.<chain id>.tokens", TokenSection),
)


def keys() -> str:
    """Return a table per section with each key, its values and its meaning."""
    parts = [_table(PolicyFile, "Top level", PolicyFile.model_fields.keys() - _sections())]
    for name, model in _TABLES:
        if issubclass(model, Section):
            brackets = f"`[[{name}]]`" if model in (DestinationSection, TokenSection) else f"`[{name}]`"
            parts.append(_table(model, brackets, model.model_fields.keys()))
    return "\n".join(parts)


def defaults() -> str:
    """Return the rules and channels without a policy file, by class and environment."""
    policies = [default_policy(name, read_only=False) for name in _ENVIRONMENTS]
    lines = [f"| class | {' | '.join(f'`{name}`' for name in _ENVIRONMENTS)} |", "| --- | --- | --- | --- |"]
    lines += [f"| `{each}` | {' | '.join(_said(policy, each) for policy in policies)} |" for each in ActionClass]
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the whole page with new generated blocks."""
    text = PAGE.read_text(encoding="utf-8")
    for name, made in (("defaults", defaults()), ("keys", keys())):
        start = _PART.format(name)
        pattern = re.compile(rf"({re.escape(start)}).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, made=made: f"{match[1]}{made}{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"docs/policy.md has no place for {name}")
    return text


def _sections() -> set[str]:
    return {name for name, field in PolicyFile.model_fields.items() if isinstance(field.default, Section)}


def _said(policy: Policy, action_class: ActionClass) -> str:
    rule = policy.rule(action_class)
    if rule is not Rule.ASK:
        return rule.value
    sinks = policy.sinks - {"none"} if action_class is ActionClass.REVEAL else {""}
    channels = set[str]().union(*(policy.channels(action_class, sink or None) for sink in sinks))
    passphrase = ", with the passphrase" if policy.needs_passphrase else ""
    return f"ask: {', '.join(sorted(channels))}{passphrase}"


def _table(model: type[Section], title: str, names: Any) -> str:
    schema = model.model_json_schema()
    intro = " ".join((model.__doc__ or "").split())
    lines = [f"### {title}", "", intro, "", "| key | value | meaning |", "| --- | --- | --- |"]
    for name, field in model.model_fields.items():
        key = field.alias or name
        if name in names:
            holds = _holds(key, schema["properties"][key], schema.get("$defs", {}))
            needed = " (required)" if field.is_required() else ""
            lines.append(f"| `{key}` | {holds}{needed} | {field.description} |")
    return "\n".join(lines) + "\n"


def _holds(name: str, schema: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    arms = [arm for arm in schema.get("anyOf", schema.get("oneOf", [schema])) if arm.get("type") != "null"]
    if arms != [schema]:
        return " or ".join(_holds(name, arm, models) for arm in arms)
    found = models.get(str(schema.get("$ref")).rpartition("/")[2], {})
    schema = found if "enum" in found else schema
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    match schema.get("type"):
        case "integer":
            return "cents" if name.endswith("_cents") or name in Periods.model_fields else "a whole number"
        case "boolean":
            return "`true`, `false`"
        case "array":
            return "a list of " + (_holds(name, schema["items"], models).replace("a table", "tables"))
        case "string":
            return "text"
        case _:
            return "a table"
