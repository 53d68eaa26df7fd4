"""Read each client's config by that client's own rules, without the package's readers."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import yaml

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=\s*[}}\]])")
STRICT = ("claude-desktop", "claude-code", "windsurf")
"""The clients that read plain JSON alone."""
NO_BOM = (*STRICT, "gemini-cli", "zed")
"""The clients that can't read a byte order mark."""


def read(name: str, text: str) -> Any:
    """Return the values that the client with this name reads. Raises ValueError if it can't read the text."""
    if name == "codex":
        return tomllib.loads(text)
    if name == "goose":
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError from error
    if name in STRICT:
        return _strict(text)
    without_comments = _COMMENT.sub(lambda found: found[1] or " ", text)
    if name == "gemini-cli":
        return _strict(without_comments)
    without_commas = _TRAILING_COMMA.sub(lambda found: found[1] or "", without_comments)
    return _strict(without_commas if name == "zed" else without_commas.removeprefix("\ufeff"))


def _strict(text: str) -> Any:
    if text.startswith("\ufeff"):
        raise ValueError("a byte order mark")
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(constant)
