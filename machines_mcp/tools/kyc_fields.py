"""The identity check's requirements, in the form the model reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from machines_mcp.protocol.tool import OutputPart
from machines_mcp.redaction.foreign_text import ForeignText

if TYPE_CHECKING:
    from machines_mcp.partner import KycField as KycValue
    from machines_mcp.partner import KycValues


class KycField(OutputPart):
    name: ForeignText
    required: bool
    rule: ForeignText | None = Field(default=None, description="Form of the value")


class Occupation(OutputPart):
    code: str | None = Field(default=None, description="Give as occupation")
    label: ForeignText


def kyc_fields(values: KycValues) -> list[KycField]:
    """Return the API's fields under our argument names, each with its rule."""
    return [
        KycField(name=ForeignText(field.name, 60), required=field.required, rule=ForeignText.of(_rule(field), 1000))
        for field in values.flat_fields()
    ]


def _rule(field: KycValue) -> str | None:
    if field.enum:
        return "one of: " + ", ".join(field.enum)
    if field.name in ("country_of_issue", "address_country_code"):
        return "two letters, ISO 3166-1"
    if field.name == "occupation":
        return "a code from occupations"
    bounds = [f"at least {field.min_length} characters"] if field.min_length else []
    bounds += [f"at most {field.max_length} characters"] if field.max_length else []
    bounds += [f"matches {field.regex}"] if field.regex else []
    if field.type == "date":
        bounds.append("YYYY-MM-DD")
    return "; ".join(bounds) or None


def occupations_of(values: KycValues, query: str | None) -> list[Occupation]:
    """Return the occupations that match the query, or the first ones without one; at most 10."""
    found = values.occupations if query is None else values.matching_occupations(query)
    return [Occupation(code=one.code or None, label=ForeignText(one.label, 120)) for one in found[:10]]
