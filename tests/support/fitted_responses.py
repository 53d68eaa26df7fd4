"""Make any response fit its request, so that only what a test changes differs."""

from __future__ import annotations

import copy
import re
from typing import Any

from machines_mcp.partner.binding import Binding, Rule, is_absent, read, requested_value
from machines_mcp.partner.endpoint_bindings import BINDINGS
from machines_mcp.partner.request import Request
from machines_mcp.partner.same_value import (
    has_one_transaction,
    is_account,
    is_closed,
    is_text,
    is_transaction,
    never,
    on_network,
    one_of,
    same_cents_on_chain,
)

ACCOUNT = "0x2b0f7f2f7c8e4c3d2d3b3f6a8f9b0c1d2e3f4a5b"
# For rules about a form: a value that has it. The other rules replace the parameters that are compared.
_FORMS: dict[object, Any] = {
    is_account: ACCOUNT,
    is_text: "base",
    is_transaction: [ACCOUNT, ACCOUNT, "1", ACCOUNT, 1_768_573_072, "c2FsdA==", "0xab"],
    has_one_transaction: None,
    never: None,
    on_network: 84_532,
}
_STEP = re.compile(r"\[[^\]]*\]|[^.\[\]]+")


def binding_of(request: Request) -> Binding:
    """Return the rules for the response to this request."""
    return BINDINGS[f"{request.method} {request.path}"]


def fitted(request: Request, data: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the response's data in which every bound value is the requested one."""
    data = copy.deepcopy(data)
    if request.path == "/withdrawals" and data.get("relay") is None and data.get("status") != "pending":
        # The destination of these orders is on a chain without collateral.
        data["relay"] = {"fromNetwork": "base"}
    for rule in binding_of(request).rules:
        for path in rule.response.split("|"):
            _fit(rule, path, request, data)
    return data


def _fit(rule: Rule, path: str, request: Request, data: dict[str, Any]) -> None:
    value = requested_value(rule, request, data)
    there = [found for found in read(data, path) if not is_absent(found)]
    if rule.same in _FORMS:
        # A network other than `base` has other chains.
        if rule.same is is_text or not rule.holds(request, data):
            assign(data, path, _FORMS[rule.same], create=rule.needs(data))
    elif rule.same is same_cents_on_chain and value is not None:
        # On chain, cents are counted in units of a token with 6 decimals.
        assign(data, path, str(value * 10**4), create=rule.needs(data) or bool(there))
    elif value is None and rule.exact:
        assign(data, path, None, create=False)
    elif rule.same is is_closed:
        assign(data, path, "canceled", create=False)
    elif rule.same is one_of and value is not None:
        assign(data, path, value.split(",")[0], create=False)
    elif value is not None:
        assign(data, path, value, create=rule.needs(data) or bool(there))


def assign(data: Any, path: str, value: Any, *, create: bool = True) -> None:
    """Set every value at a path. `create`: also where it is missing, unless that is in a list."""
    *above, last = [step[0] for step in _STEP.finditer(path)]
    for step in above:
        if isinstance(data, dict) and create and not isinstance(data.get(step), dict | list):
            data[step] = {}
        if step == "[]":
            for each in data if isinstance(data, list) else ():
                assign(each, path.partition("[].")[2], value, create=create)
            return
        data = data.get(step) if isinstance(data, dict) else None
    if last.startswith("["):
        index, _, size = last[1:-1].partition("/")
        if isinstance(data, list) and len(data) == int(size):
            data[int(index)] = value
    elif isinstance(data, dict) and (create or last in data):
        data[last] = copy.deepcopy(value)
