"""The message for a violation of the policy's schema.

It names a key by its dotted path and the rule that it breaks, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic_core import ErrorDetails

from machines_mcp.permissions.policy_chains import ChainSection, TokenSection
from machines_mcp.permissions.policy_schema import Classes, DestinationSection, Periods, PolicyFile, TotalRates
from machines_mcp.permissions.policy_section import Section

_RULES = {
    "missing": "is missing",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
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
    """Return the key at fault and the rule that it breaks: `withdrawals.per_day_cents must be a whole number`."""
    where = dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where} is not a policy key{nearest(str(error['loc'][-1]), _keys_beside(error['loc']))}"
    if error["type"] == "machines_rule":
        return f"{where} {error['msg']}"
    return f"{where} {_RULES.get(error['type'], 'is not valid').format(**error.get('ctx', {}))}"


def dotted(loc: Sequence[int | str]) -> str:
    """Return a path such as `withdrawals.destinations[0].address`. Unusual keys are user input and are not repeated."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        # The tag of a union's arm, and the mark of a key.
        elif not part.startswith(":") and part != "[key]":
            path += ("." if path else "") + (part if re.fullmatch(r"[A-Za-z0-9_]{1,40}", part) else "(an invalid name)")
    return path


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a clause naming the closest known name, or an empty string."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"; the nearest is {near[0]}" if near else ""


def _keys_beside(loc: Sequence[int | str]) -> list[str]:
    above = [part for part in loc[:-1] if isinstance(part, str) and not part.startswith(":")]
    tables: dict[str, type[Section]] = {
        name: type(field.default)
        for name, field in PolicyFile.model_fields.items()
        if isinstance(field.default, Section)
    }
    tables |= {"destinations": DestinationSection, "max_limit_cents": Periods, "total": TotalRates}
    if not above:
        return list(PolicyFile.model_fields)
    if above[0] == "chain":
        table: type[Section] = TokenSection if above[-1] == "tokens" else ChainSection
    else:
        table = Classes if above[0] == "tools" else tables[above[-1]]
    return [field.alias or name for name, field in table.model_fields.items()]
