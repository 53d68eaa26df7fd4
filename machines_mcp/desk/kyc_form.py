"""The identity form as the API describes it, with labels, hints and rules for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING

from machines_mcp.desk.kyc_options import FieldKind, Option, options_of
from machines_mcp.partner.formats import identity
from machines_mcp.redaction.characters import text_fault
from machines_mcp.redaction.display import utc_day
from machines_mcp.redaction.foreign_text import shortened

if TYPE_CHECKING:
    from machines_mcp.partner import KycValues
    from machines_mcp.partner.models.kyc import KycField

MAX_CHARACTERS = 254
MAX_FIELDS = 40


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the form. `value` and `fault` belong to the current request."""

    name: str
    label: str
    group: str
    kind: FieldKind = "text"
    required: bool = True
    hint: str = ""
    autocomplete: str = "off"
    numeric: bool = False
    min_length: int = 1
    max_length: int = MAX_CHARACTERS
    pattern: str = ""
    options: tuple[Option, ...] = ()
    value: str = ""
    fault: str = ""

    @property
    def searchable(self) -> bool:
        """Whether there are too many options to look through."""
        return self.kind in ("country", "occupation")

    @property
    def label_in_sentence(self) -> str:
        """The label for use within a sentence."""
        return self.label[:1].lower() + self.label[1:]


_YOU, _DOCUMENT, _CONTACT, _ADDRESS, _WORK, _MORE = (
    "About you",
    "Identity document",
    "Contact",
    "Where you live",
    "Work and account",
    "More",
)
_PHONE = ("phone_country_code", "phone_number")

_KNOWN_FIELDS = {
    field.name: field
    for field in (
        Field("first_name", "First name", _YOU, autocomplete="given-name", hint="As on the identity document."),
        Field("last_name", "Last name", _YOU, autocomplete="family-name", hint="As on the identity document."),
        Field("birth_date", "Date of birth", _YOU, "date", autocomplete="bday"),
        Field("national_id", "National ID number", _DOCUMENT, hint="Letters, digits and hyphens."),
        Field("country_of_issue", "Country of issue", _DOCUMENT, "country"),
        Field("email", "Email address", _CONTACT, "email", autocomplete="email"),
        Field(
            "phone_country_code",
            "Country calling code",
            _CONTACT,
            "tel",
            autocomplete="tel-country-code",
            hint="Digits only, such as 1 or 49.",
            numeric=True,
        ),
        Field(
            "phone_number",
            "Phone number",
            _CONTACT,
            "tel",
            autocomplete="tel-national",
            hint="Digits only, with area code.",
            numeric=True,
            min_length=4,
        ),
        Field("address_line1", "Street and house number", _ADDRESS, autocomplete="address-line1"),
        Field("address_line2", "Apartment, floor", _ADDRESS, autocomplete="address-line2", required=False),
        Field("address_city", "City", _ADDRESS, autocomplete="address-level2"),
        Field("address_region", "State or region", _ADDRESS, autocomplete="address-level1"),
        Field("address_postal_code", "Postal code", _ADDRESS, autocomplete="postal-code"),
        Field("address_country_code", "Country", _ADDRESS, "country", autocomplete="country"),
        Field("occupation", "Occupation", _WORK, "occupation"),
        Field("annual_salary", "Annual income", _WORK, "choice"),
        Field("account_purpose", "Purpose of the account", _WORK, "choice"),
        Field("expected_monthly_volume", "Expected monthly spending", _WORK, "choice"),
    )
}
# The API's patterns are applied only if they are one character class with a count. Those can't run long.
_SAFE_PATTERN = re.compile(r"\^\[[^\[\]]{1,60}\](?:[+*]|\{[0-9]{1,3}(?:,[0-9]{1,3})?\})\$")


def build_fields(values: KycValues, mask: Callable[[str], str]) -> tuple[Field, ...]:
    """Return the form's fields by group, in the API's order within each group.

    `mask` masks the API's texts. A field whose name it changes is left out.
    """
    found: dict[str, Field] = {}
    for api_field in values.flat_fields()[:MAX_FIELDS]:
        name = api_field.name
        if re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) and mask(name) == name:
            field = _apply_api_rules(_KNOWN_FIELDS.get(name) or _unknown_field(name, api_field, mask), api_field)
            found[name] = replace(field, options=options_of(field.kind, api_field, values, mask))
    groups = list(dict.fromkeys(field.group for field in found.values()))
    return tuple(sorted(found.values(), key=lambda field: groups.index(field.group)))


def _unknown_field(name: str, api_field: KycField, mask: Callable[[str], str]) -> Field:
    """Return a field that this version has no label for."""
    label = name.replace("_", " ")
    kind: FieldKind = "date" if api_field.type == "date" else "text"
    hint = shortened(api_field.description or "", 200, lambda text, _: mask(text))
    return Field(name, label[:1].upper() + label[1:], _MORE, kind, hint=hint)


def _apply_api_rules(field: Field, api_field: KycField) -> Field:
    rule = api_field.regex if api_field.regex and _SAFE_PATTERN.fullmatch(api_field.regex) else field.pattern
    if field.kind == "tel":
        # The API's limits are those of the digits alone.
        return replace(field, required=api_field.required)
    return replace(
        field,
        kind="choice" if api_field.enum and field.kind == "text" else field.kind,
        required=api_field.required,
        min_length=max(field.min_length, api_field.min_length or 0),
        max_length=min(field.max_length, api_field.max_length or field.max_length),
        pattern=rule,
    )


def with_values(fields: tuple[Field, ...], form: Mapping[str, str]) -> tuple[Field, ...]:
    """Return the fields with the typed values."""
    typed = {field.name: form.get(field.name, "").strip() for field in fields}
    return tuple(
        replace(one, value=typed[one.name].upper() if one.kind == "country" else typed[one.name]) for one in fields
    )


def validated(fields: tuple[Field, ...], now: float) -> tuple[Field, ...]:
    """Return the fields, each invalid one with a sentence that says how to fix it."""
    today = date.fromisoformat(utc_day(now))
    typed = {field.name: field.value for field in fields}
    return tuple(replace(field, fault=_fault(field, today, typed)) for field in fields)


def with_reported_faults(fields: tuple[Field, ...], faults: tuple[tuple[str, str], ...]) -> tuple[Field, ...]:
    """Return the fields with the faults that the call reported."""
    rules = dict(faults)
    return tuple(replace(f, fault=f"{f.label} {rules[f.name]}.") if f.name in rules else f for f in fields)


def group_fields(fields: tuple[Field, ...]) -> list[tuple[str, list[Field]]]:
    """Return the fields by heading."""
    return [(name, list(some)) for name, some in groupby(fields, key=lambda field: field.group)]


def _fault(field: Field, today: date, typed: Mapping[str, str]) -> str:
    value = field.value
    if field.kind == "tel" and any(typed.get(name) for name in _PHONE):
        return _phone_fault(field, typed)
    if not value:
        return _missing_fault(field) if field.required else ""
    if field.name == "birth_date":
        return _sentence(field, identity.birth_date_fault(value, today))
    if field.kind in ("choice", "country", "occupation"):
        known = any(option.value == value for option in field.options)
        return "" if known else f"{_missing_fault(field)[:-1]} from the list."
    return _text_fault(field)


def _text_fault(field: Field) -> str:
    value = field.value
    if len(value) > field.max_length:
        return f"{field.label} can have at most {field.max_length} characters."
    if len(value) < field.min_length:
        return f"{field.label} must have at least {field.min_length} characters."
    if field.kind == "email" and identity.email_fault(value):
        return "Enter an email address, such as name@example.com."
    if text_fault(value) is not None or (field.pattern and not re.fullmatch(field.pattern, value)):
        return f"{field.label} is not in the right format. {field.hint}".strip()
    return ""


def _missing_fault(field: Field) -> str:
    verb = "Choose" if field.kind in ("choice", "country", "occupation") else "Enter"
    return f"{verb} the {field.label_in_sentence}."


def _phone_fault(field: Field, typed: Mapping[str, str]) -> str:
    if not field.value:
        return _missing_fault(field)
    try:
        code = identity.calling_code(typed.get("phone_country_code", ""))
    except identity.PhoneFault as fault:
        return "" if field.name == "phone_number" else _sentence(field, str(fault))
    try:
        identity.national_number(code, typed.get("phone_number", ""))
    except identity.PhoneFault as fault:
        return "" if field.name == "phone_country_code" else _sentence(field, str(fault))
    return ""


def _sentence(field: Field, rule: str | None) -> str:
    return "" if rule is None else f"{field.label} {rule}."
