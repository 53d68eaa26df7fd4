"""Random client configs with comments and irregular spacing, each with its value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

OLD = '{"old": ["entry", 1]}'
# No spaces inside, so that all generated text is outside our entry.
HELD = f'"machines": {OLD}'
NAMES = st.text(st.characters(codec="utf-8"), max_size=4).filter(lambda name: name not in ("mcpServers", "machines"))
_SPACE = st.lists(st.sampled_from([" ", "\t", "\n", "\r\n", '// , } "\n', "/* { , */"]), max_size=3).map("".join)
_LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "//", "/*", '"', "}", "é", "\n"])
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)


@dataclass(frozen=True)
class Document:
    """The text of a config, and its parsed value."""

    text: str
    value: dict[str, Any]


@st.composite
def documents(draw: st.DrawFn, *, held: bool) -> Document:
    """Draw a config, with our entry (`OLD`) if `held`."""
    value: dict[str, Any] = draw(st.dictionaries(NAMES, _VALUES, max_size=3))
    if held or draw(st.booleans()):
        servers = draw(st.dictionaries(NAMES, st.dictionaries(NAMES, _LEAVES, max_size=2), max_size=2))
        value = _shuffled(draw, value | {"mcpServers": _shuffled(draw, servers | ({"machines": OLD} if held else {}))})
    text = draw(st.sampled_from(["", "\ufeff"])) + draw(_SPACE) + _text(draw, value, "") + draw(_SPACE)
    if held:
        value["mcpServers"]["machines"] = json.loads(OLD)
    return Document(text, value)


def _shuffled(draw: st.DrawFn, value: dict[str, Any]) -> dict[str, Any]:
    return {name: value[name] for name in draw(st.permutations(sorted(value)))}


def _text(draw: st.DrawFn, value: Any, path: str) -> str:
    if not isinstance(value, dict | list):
        escaped: bool = draw(st.booleans())
        return json.dumps(value, ensure_ascii=escaped)
    if isinstance(value, list):
        parts = [_text(draw, inner, "-") for inner in value]
    else:
        parts = [_member(draw, name, inner, f"{path}/{name}") for name, inner in value.items()]
    inside = ",".join(draw(_SPACE) + part + draw(_SPACE) for part in parts)
    if draw(st.booleans()) and parts:
        inside += ","
    ends = "[]" if isinstance(value, list) else "{}"
    return ends[0] + inside + draw(_SPACE) + ends[1]


def _member(draw: st.DrawFn, name: str, value: Any, path: str) -> str:
    if path == "/mcpServers/machines":
        return HELD
    return json.dumps(name) + draw(_SPACE) + ":" + draw(_SPACE) + _text(draw, value, path)
