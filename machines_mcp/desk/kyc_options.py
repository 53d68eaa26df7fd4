"""The values that a person can choose in the identity form, and other words by which they can search for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from machines_mcp.redaction.characters import printable

if TYPE_CHECKING:
    from machines_mcp.partner import KycValues
    from machines_mcp.partner.models.kyc import KycField

MAX_OPTIONS = 1_000

FieldKind = Literal["text", "date", "email", "tel", "choice", "country", "occupation"]

# How people call a country whose official name begins otherwise.
_ALSO = {
    "AE": "UAE Dubai",
    "CI": "Ivory Coast",
    "CV": "Cape Verde",
    "CZ": "Czech Republic",
    "GB": "UK England Scotland Wales",
    "KP": "North Korea",
    "KR": "South Korea",
    "MM": "Burma",
    "NL": "Holland",
    "SZ": "Swaziland",
    "TL": "East Timor",
    "TR": "Turkey",
    "VA": "Vatican",
    "VN": "Vietnam",
}


@dataclass(frozen=True, slots=True)
class Option:
    """A value that a person can choose. `words` are other words by which they may search for it."""

    value: str
    label: str
    words: str = ""


def options_of(
    kind: FieldKind, api_field: KycField, values: KycValues, mask: Callable[[str], str]
) -> tuple[Option, ...]:
    """Return the options of a field of this kind: the countries, the API's occupations, or the API's list.

    A value is sent as it is, so one that `mask` changes can't be chosen.
    """

    def shown(text: str) -> str:
        return mask(printable(text))

    if kind == "country":
        from iso3166 import countries

        found = (Option(one.alpha2, one.apolitical_name, _words(one.alpha2, one.alpha3)) for one in countries)
        return tuple(sorted(found, key=lambda option: option.label))
    if kind == "occupation":
        jobs = [one for one in values.occupations if one.code and shown(one.code) == one.code]
        return tuple(Option(one.code, shown(one.label) or one.code, one.other_words) for one in jobs[:MAX_OPTIONS])
    return tuple(Option(one, one) for one in (api_field.enum or ())[:MAX_OPTIONS] if shown(one) == one)


def _words(alpha2: str, alpha3: str) -> str:
    return f"{alpha3} {_ALSO.get(alpha2, '')}".rstrip()
