"""Reasons of the identity check in our own words.

The provider's text can repeat what the user typed, or contain instructions. So the model gets one of these sentences,
chosen by the words of that text. A person can read the text at the desk.
"""

from __future__ import annotations

import re

from machines_mcp.redaction.folding import folded

OTHER = "The provider gave a reason that only a person may read, at the desk (machines-mcp desk --open)."
_DOCUMENT = r"\b(?:documents?|passports?|licen[cs]es?|id cards?|identity cards?)\b"
# The first pattern that is found decides. In each, the words may come in any order.
_REASONS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((r"\b(?:selfie|face|facial|liveness|biometric)",), "The selfie could not be matched to the document."),
    ((_DOCUMENT, r"\bexpir"), "The identity document has expired."),
    (
        (_DOCUMENT, r"\b(?:read|blur\w*|unclear|illegible|unreadable|quality|glare|dark|crop\w*|photo|scan|image)\b"),
        "The photo of the identity document can't be read.",
    ),
    ((_DOCUMENT, r"\b(?:accepted|supported|unsupported|type|kind)\b"), "This kind of document is not accepted."),
    ((_DOCUMENT,), "There is a problem with the identity document."),
    ((r"\b(?:duplicate|already (?:exists|registered|has))",), "There is already an account for this person."),
    ((r"\b(?:under ?age|too young|minor|under 18)\b",), "The user is too young."),
    (
        (r"\b(?:country|region|jurisdiction|residen\w*)\b", r"\b(?:not|un)\W?\w*support"),
        "The country is not supported.",
    ),
    ((r"\b(?:birth|dob)\b",), "The date of birth could not be confirmed."),
    (
        (r"\b(?:ssn|itin|social security|national id|tax id|id number)\b",),
        "The national ID number could not be confirmed.",
    ),
    ((r"\b(?:address|residence|residential)\b",), "The address could not be confirmed."),
    ((r"\bphone\b",), "The phone number could not be confirmed."),
    ((r"\be-?mail\b",), "The email address could not be confirmed."),
    ((r"\bname\b",), "The name could not be confirmed."),
    ((r"\b(?:withdrawn|canceled|cancelled)\b",), "The application was withdrawn."),
    ((r"\b(?:locked|blocked|suspended)\b",), "The account is locked."),
    ((r"\b(?:review|reviewing|reviewed)\b",), "A person is reviewing the application."),
    ((r"\b(?:missing|incomplete|more information|additional)\b",), "More information is needed."),
    ((r"\bnot\b", r"\bverif"), "The identity could not be verified."),
)
SENTENCES = frozenset({sentence for _, sentence in _REASONS} | {OTHER})
"""Every sentence that the model can get."""


def own_words(reason: str | None) -> str | None:
    """Return one of `SENTENCES` for the provider's text; None if there is none."""
    if not reason or not reason.strip():
        return None
    text = folded(reason).lower().replace("_", " ")
    return next(
        (sentence for patterns, sentence in _REASONS if all(re.search(pattern, text) for pattern in patterns)), OTHER
    )
