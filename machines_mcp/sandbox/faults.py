"""Faults: failures of the next calls to a path, armed through the control and kept in memory only."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox.json_patch import Step, steps_of

if TYPE_CHECKING:
    from machines_mcp.sandbox.fields import Fields

# What each kind does, and whether the call still takes effect.
KINDS: Final = {
    "status": "return an error status and code, optionally with Retry-After; the call has no effect",
    "delay": "delay the response; the call takes effect",
    "drop": "close the connection without a response; the call has no effect",
    "after": "close the connection without a response; the call takes effect",
    "half_body": "close the connection in the middle of the response; the call takes effect",
    "html": "return an HTML page with status 200; the call has no effect",
    "wrong_types": "change the type of every value in the response's data; the call takes effect",
    "patch": "change the response's envelope by a JSON patch; the call takes effect",
}
MAX_CALLS: Final = 1000
MAX_SECONDS: Final = 120
_METHODS: Final = ("GET", "POST", "PATCH", "DELETE")
_CODES: Final = {400: "invalid_request", 401: "unauthorized", 403: "forbidden", 404: "not_found"} | {
    409: "invalid_state",
    429: "rate_limited",
}
_UUID: Final = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass
class Fault:
    """An armed fault. `method` None means any, `exact` requires the whole path, `calls` is the number left.

    `patch` is empty unless `kind` is `patch`.
    """

    method: str | None
    path: str
    exact: bool
    kind: str
    calls: int
    status: int | None
    code: str | None
    retry_after: int | None
    delay_seconds: int
    patch: tuple[Step, ...] = ()

    @classmethod
    def of(cls, fields: Fields) -> Fault:
        """Parse the request that arms a fault.

        Raises:
            Refusal: 400, with the invalid field.
        """
        kind = fields.choice("kind", KINDS)
        status = fields.integer("status", least=400, most=599) if kind == "status" else None
        code = fields.optional_text("code", most=60, pattern="[a-z0-9_]+") if status else None
        return cls(
            method=fields.optional_choice("method", _METHODS),
            path=fields.text("path", most=200, pattern="/[^?#]*"),
            exact=fields.optional_flag("exact") or False,
            kind=kind,
            calls=fields.optional_integer("calls", least=1, most=MAX_CALLS) or 1,
            status=status,
            code=code or (_CODES.get(status, "server_error" if status >= 500 else "rejected") if status else None),
            retry_after=fields.optional_integer("retryAfter", least=0, most=86_400) if status else None,
            delay_seconds=(
                fields.integer("delaySeconds", least=1, most=MAX_SECONDS)
                if kind == "delay"
                else fields.optional_integer("delaySeconds", least=0, most=MAX_SECONDS) or 0
            ),
            patch=steps_of(fields) if kind == "patch" else (),
        )

    def meets(self, method: str, path: str, template: str) -> bool:
        """Return whether the fault applies to a call of `path`, which is served as `template`.

        Whole segments are compared, so `/cards` does not match `/cardsharp`. `{cardId}` matches any card.
        """
        if self.method not in (None, method):
            return False
        return self._fits([{actual, named} for actual, named in zip(_parts(path), _parts(template), strict=True)])

    def reaches(self, template: str) -> bool:
        """Return whether it can apply to some call at `template`, whatever the method; ids are uuids."""
        ids = {part for part in _parts(self.path) if _UUID.fullmatch(part)}
        return self._fits([{named} | (ids if named.startswith("{") else set()) for named in _parts(template)])

    def _fits(self, segments: list[set[str]]) -> bool:
        wanted = _parts(self.path)
        if len(wanted) > len(segments) or (self.exact and len(wanted) != len(segments)):
            return False
        return all(part in names for part, names in zip(wanted, segments, strict=False))

    def view(self) -> dict[str, Any]:
        """Return the fault as the control shows it."""
        view = asdict(self)
        view["retryAfter"], view["delaySeconds"] = view.pop("retry_after"), view.pop("delay_seconds")
        view["patch"] = [f"{step.op} /{'/'.join(step.path)}" for step in self.patch] or None
        return {name: value for name, value in view.items() if value is not None}


class Faults:
    """The armed faults, oldest first. If several match a call, the oldest applies."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        self._armed.append(fault)

    def clear(self) -> None:
        self._armed.clear()

    def take(self, method: str, path: str, template: str) -> Fault | None:
        """Return the fault for this call and count it down. Paths are relative to the API's base path."""
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
