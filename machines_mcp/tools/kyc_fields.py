"""The identity check's requirements, in the form the model reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from machines_mcp.protocol.tool import OutputPart
from machines_mcp.tools.text import clean

if TYPE_CHECKING:
    from machines_mcp.partner import KycValues


_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class KycField(OutputPart):
    name: str
    required: bool
    rule: str | None = None


class Occupation(OutputPart):
    code: str
    label: str


def fields_of(values: KycValues) -> list[KycField]:
    """Return the API's fields under our argument names, each with its rule."""
    choices = {
        "annual_salary": values.annual_salary,
        "account_purpose": values.account_purpose,
        "expected_monthly_volume": values.expected_monthly_volume,
    }
    found = []
    for field in values.fields:
        name = _CAMEL.sub("_", clean(field.name, 60)).lower()
        if name == "address":
            found += [_address_part(name, required) for name, required in _ADDRESS]
            continue
        rule = _rule(field.type, field.min_length, field.max_length, field.regex, choices.get(name) or field.enum)
        found.append(KycField(name=name, required=field.required, rule=rule))
    return found


_ADDRESS = (
    ("address_line1", True),
    ("address_line2", False),
    ("address_city", True),
    ("address_region", True),
    ("address_postal_code", True),
    ("address_country_code", True),
)


def _address_part(name: str, required: bool) -> KycField:
    return KycField(name=name, required=required, rule="two letters, ISO 3166-1" if "country" in name else None)


def _rule(kind: str, low: int | None, high: int | None, regex: str | None, choices: Sequence[str] | None) -> str:
    if choices:
        return "one of: " + ", ".join(clean(c, 60) for c in choices)
    bounds = [f"at least {low} characters"] if low else []
    bounds += [f"at most {high} characters"] if high else []
    bounds += [f"matches {clean(regex, 100)}"] if regex else []
    if kind == "date":
        bounds.append("YYYY-MM-DD")
    return "; ".join(bounds) or clean(kind, 40)


def matching(known: list[Occupation], query: str | None) -> list[Occupation]:
    """Return the occupations that match all words, or any word if none does; at most 10."""
    if query is None:
        return known[:10]
    words = query.lower().split()
    hits = [o for o in known if all(word in o.label.lower() or word in o.code.lower() for word in words)]
    return (hits or [o for o in known if any(word in o.label.lower() for word in words)])[:10]
