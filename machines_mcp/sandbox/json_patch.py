"""Change a response by a JSON patch (RFC 6902: `add`, `replace` and `remove`), as an armed fault does.

A place that the response does not have is left alone. `raw` inserts text instead of a value, such as `1e400` or `NaN`,
which no JSON value can express.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from machines_mcp.sandbox.fields import Fields

MAX_STEPS: Final = 50
MAX_RAW: Final = 20_000
_OPERATIONS: Final = ("add", "replace", "remove")
# Never part of a response, so that it can mark where raw text goes.
_MARK: Final = "\ue000sandbox-raw-"


@dataclass(frozen=True)
class Step:
    """One operation at `path`, the unescaped parts of a JSON pointer. `raw` replaces `value` if it is not None."""

    op: str
    path: tuple[str, ...]
    value: Any = None
    raw: str | None = None


def steps_of(fields: Fields) -> tuple[Step, ...]:
    """Parse the field `patch`.

    Raises:
        Refusal: 400, if it is not a list of 1 to 50 operations.
    """
    fields.require("patch")
    given = fields.values["patch"]
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_STEPS:
        fields.refuse("patch", f"must be a list of 1 to {MAX_STEPS} operations")
    return tuple(_step(fields, one) for one in given)


def _step(fields: Fields, given: object) -> Step:
    if not isinstance(given, dict) or given.get("op") not in _OPERATIONS:
        fields.refuse("patch", f"must have an op in each operation: {', '.join(_OPERATIONS)}")
    path, raw = given.get("path"), given.get("raw")
    if not isinstance(path, str) or not re.fullmatch(r"(/[^/]*)+", path):
        fields.refuse("patch", "must have a path in each operation, such as /data/cardId")
    if given["op"] != "remove" and not ({"value", "raw"} & given.keys()):
        fields.refuse("patch", "must have a value, or raw text, in each add and replace")
    if raw is not None and not (isinstance(raw, str) and 1 <= len(raw) <= MAX_RAW):
        fields.refuse("patch", f"must have raw text of 1 to {MAX_RAW} characters")
    parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])
    return Step(given["op"], parts, given.get("value"), raw)


def patched(body: bytes, steps: Sequence[Step]) -> bytes:
    """Return the JSON body with the steps applied in order."""
    document = json.loads(body)
    texts = {}
    for number, step in enumerate(steps):
        mark = f"{_MARK}{number}"
        if step.raw is not None:
            texts[mark] = step.raw
        _apply(document, step, step.value if step.raw is None else mark)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    for mark, raw in texts.items():
        text = text.replace(f'"{mark}"', raw)
    return text.encode()


def _apply(document: Any, step: Step, value: Any) -> None:
    *above, last = step.path
    target = document
    for part in above:
        target = _inner(target, part)
    if isinstance(target, dict):
        _change_object(target, last, step.op, value)
    elif isinstance(target, list):
        _change_list(target, last, step.op, value)


def _inner(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    at = _index(value, part) if isinstance(value, list) else None
    return None if at is None else value[at]


def _change_object(target: dict[str, Any], name: str, op: str, value: Any) -> None:
    if op == "remove":
        target.pop(name, None)
    else:
        target[name] = value


def _change_list(target: list[Any], part: str, op: str, value: Any) -> None:
    if op == "add" and part in ("-", str(len(target))):
        target.append(value)
        return
    at = _index(target, part)
    if at is None:
        return
    if op == "remove":
        del target[at]
    elif op == "add":
        target.insert(at, value)
    else:
        target[at] = value


def _index(target: list[Any], part: str) -> int | None:
    return int(part) if re.fullmatch(r"[0-9]{1,6}", part) and int(part) < len(target) else None
