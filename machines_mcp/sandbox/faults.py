"""Faults: what goes wrong with the next calls of a path, armed by the control and forgotten with the process."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from machines_mcp.sandbox.fields import Fields

# What each does, and whether the call has its effect all the same.
KINDS: Final = {
    "status": "the call is refused with a status, a code and perhaps Retry-After; it has no effect",
    "delay": "the answer comes late; the call has its effect",
    "drop": "the connection closes without an answer; the call has no effect",
    "after": "the connection closes without an answer; the call has its effect",
    "half_body": "the connection closes in the middle of the answer; the call has its effect",
    "html": "a page of HTML comes with status 200; the call has no effect",
    "wrong_types": "every value of the answer's data has another type; the call has its effect",
}
MOST_CALLS: Final = 1000
MOST_SECONDS: Final = 120
_METHODS: Final = ("GET", "POST", "PATCH", "DELETE")
_CODES: Final = {400: "invalid_request", 401: "unauthorized", 403: "forbidden", 404: "not_found"} | {
    409: "invalid_state",
    429: "rate_limited",
}
_UUID: Final = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass
class Fault:
    """One armed fault. `method` None is every method, `exact` asks for the whole path, `calls` is how many are left."""

    method: str | None
    path: str
    exact: bool
    kind: str
    calls: int
    status: int | None
    code: str | None
    retry_after: int | None
    delay_seconds: int

    @classmethod
    def of(cls, fields: Fields) -> Fault:
        """Read the order of a fault.

        Raises:
            Refusal: 400, with the field at fault.
        """
        kind = fields.choice("kind", KINDS)
        status = fields.integer("status", least=400, most=599) if kind == "status" else None
        code = fields.optional_text("code", most=60, pattern="[a-z0-9_]+") if status else None
        return cls(
            method=fields.optional_choice("method", _METHODS),
            path=fields.text("path", most=200, pattern="/[^?#]*"),
            exact=fields.optional_flag("exact") or False,
            kind=kind,
            calls=fields.optional_integer("calls", least=1, most=MOST_CALLS) or 1,
            status=status,
            code=code or (_CODES.get(status, "server_error" if status >= 500 else "rejected") if status else None),
            retry_after=fields.optional_integer("retryAfter", least=0, most=86_400) if status else None,
            delay_seconds=(
                fields.integer("delaySeconds", least=1, most=MOST_SECONDS)
                if kind == "delay"
                else fields.optional_integer("delaySeconds", least=0, most=MOST_SECONDS) or 0
            ),
        )

    def meets(self, method: str, path: str, template: str) -> bool:
        """Whether a call of `path`, served as `template`, is its.

        Paths are met by whole segments, so `/cards` is no beginning of `/cardsharp`; `{cardId}` is met by any card.
        """
        if self.method not in (None, method):
            return False
        return self._fits([{actual, named} for actual, named in zip(_parts(path), _parts(template), strict=True)])

    def reaches(self, template: str) -> bool:
        """Whether some call of an operation at `template` can be its, whatever the method; an id is a uuid."""
        ids = {part for part in _parts(self.path) if _UUID.fullmatch(part)}
        return self._fits([{named} | (ids if named.startswith("{") else set()) for named in _parts(template)])

    def _fits(self, segments: list[set[str]]) -> bool:
        wanted = _parts(self.path)
        if len(wanted) > len(segments) or (self.exact and len(wanted) != len(segments)):
            return False
        return all(part in names for part, names in zip(wanted, segments, strict=False))

    def view(self) -> dict[str, Any]:
        """As the control shows it."""
        view = asdict(self)
        view["retryAfter"], view["delaySeconds"] = view.pop("retry_after"), view.pop("delay_seconds")
        return {name: value for name, value in view.items() if value is not None}


class Faults:
    """The armed ones, the oldest first: that one is met first."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        self._armed.append(fault)

    def clear(self) -> None:
        self._armed.clear()

    def take(self, method: str, path: str, template: str) -> Fault | None:
        """The fault of this call, used up by it; `path` and `template` are below the API's base path."""
        fault = next((fault for fault in self._armed if fault.meets(method, path, template)), None)
        if fault is not None:
            fault.calls -= 1
            if fault.calls == 0:
                self._armed.remove(fault)
        return fault

    def view(self) -> list[dict[str, Any]]:
        return [fault.view() for fault in self._armed]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
