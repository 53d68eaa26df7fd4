"""Find contradictions in a policy file, and between the file and the server's settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import PRODUCTION_RATES, SENSITIVE, STRICTER, Rule
from machines_mcp.permissions.policy_chains import wrong_chains
from machines_mcp.permissions.policy_fault import nearest
from machines_mcp.permissions.policy_schema import Classes, PolicyFile
from machines_mcp.permissions.protective import CANCEL_APPROVAL
from machines_mcp.storage.files import write_fault

Tools = Mapping[str, Collection[ActionClass]]
"""Every tool's name with the classes its calls can have."""


def contradictions(file: PolicyFile, environment: str, tools: Tools, user_id: str | None) -> Iterator[str]:
    """Yield each error as a clause that begins with the path of the key, most serious first."""
    yield from _too_open(file, environment)
    if file.environment != environment:
        yield f"environment does not match MACHINES_ENV, which is {environment}"
    yield from _wrong_tools(file, tools)
    yield from _asks_in_vain(file)
    yield from _wrong_users(file, user_id)
    yield from _wrong_sinks(file)
    if file.environment == "production" and set(file.approval.dialog or ()) - {"write"}:
        yield "approval.dialog may list only write in production, because a program can answer a client's dialog"
    yield from wrong_chains(file.chain)
    yield from _wrong_totals(file)
    yield from _wrong_paths(file)


def _too_open(file: PolicyFile, environment: str) -> Iterator[str]:
    if environment == "embedded":
        return
    why = "must be ask or deny: only embedded may allow it without approval"
    for action_class, rule in rules_of(file.classes).items():
        if action_class in SENSITIVE and rule is Rule.ALLOW:
            yield f"classes.{action_class} {why}"
    for name, given in file.tools.items():
        for action_class, rule in (rules_of(given) if isinstance(given, Classes) else {}).items():
            if action_class in SENSITIVE and rule is Rule.ALLOW and _plain(name):
                yield f"tools.{name}.{action_class} {why}"


def _wrong_tools(file: PolicyFile, tools: Tools) -> Iterator[str]:
    classes = class_rules(file)
    for name, given in file.tools.items():
        where = f"tools.{name}"
        if name not in tools:
            yield f"{where if _plain(name) else 'tools has a key that'} is not a tool{nearest(name, list(tools))}"
            return
        if isinstance(given, Classes):
            for action_class in rules_of(given):
                if action_class not in tools[name]:
                    yield f"{where}.{action_class} has no effect: calls of that tool are {_listed(tools[name])}"
            continue
        rule = Rule(given)
        if len(tools[name]) == 1:
            if rule is Rule.ALLOW and file.environment != "embedded" and SENSITIVE & set(tools[name]):
                yield f"{where} must be ask or deny: only embedded may allow it without approval"
            continue
        for action_class in tools[name]:
            if STRICTER.index(rule) < STRICTER.index(classes[action_class]):
                yield f"{where} is looser than classes.{action_class}; set it per class, as in {where}.{action_class}"


def _asks_in_vain(file: PolicyFile) -> Iterator[str]:
    given = file.tools.get(CANCEL_APPROVAL)
    if Rule.ASK in (given, given.write if isinstance(given, Classes) else None):
        yield f"tools.{CANCEL_APPROVAL} must be allow or deny: withdrawing a request asks nobody"


def _wrong_users(file: PolicyFile, user_id: str | None) -> Iterator[str]:
    if user_id is None and file.users is None and file.environment != "embedded":
        yield 'users is missing: list the users, set it to "any", or set MACHINES_USER_ID'
    if user_id is not None and isinstance(file.users, list) and user_id not in file.users:
        yield "users does not include MACHINES_USER_ID"


def _wrong_sinks(file: PolicyFile) -> Iterator[str]:
    reveal = file.reveal
    if reveal.model_cvc and not reveal.model:
        yield "reveal.model_cvc needs reveal.model"
    if reveal.may_copy and "page" not in sinks_of(file):
        yield "reveal.copy needs page in reveal.sinks"
    if reveal.sinks is None:
        return
    if "model" in reveal.sinks and not reveal.model:
        yield "reveal.sinks includes model, which needs reveal.model = true"
    if reveal.model and "model" not in reveal.sinks:
        yield "reveal.model is true, but reveal.sinks does not include model"
    if "sealed" in reveal.sinks and reveal.sealed_key is None:
        yield "reveal.sinks includes sealed, which needs reveal.sealed_key"


def sinks_of(file: PolicyFile) -> frozenset[str]:
    """Return the allowed sinks, including defaults."""
    if file.reveal.sinks is not None:
        return frozenset(file.reveal.sinks)
    found = {"none"} if file.environment == "production" else {"none", "page"}
    return frozenset(
        found | ({"model"} if file.reveal.model else set()) | ({"sealed"} if file.reveal.sealed_key else set())
    )


def rates_of_each_user(file: PolicyFile) -> dict[str, int | None]:
    """Return the rate limits of each user, including defaults."""
    defaults = PRODUCTION_RATES if file.environment == "production" else {}
    return {name: given if given is not None else defaults.get(name) for name, given in file.rates if name != "total"}


def _wrong_totals(file: PolicyFile) -> Iterator[str]:
    rates = rates_of_each_user(file)
    for name, total in file.rates.total:
        of_each = rates[name]
        if total is not None and of_each is not None and total < of_each:
            yield f"rates.total.{name} is lower than rates.{name}, which is the limit of each user"


def _wrong_paths(file: PolicyFile) -> Iterator[str]:
    for where, given in (("reveal.sealed_key", file.reveal.sealed_key), ("audit.head_file", file.audit.head_file)):
        if given is not None and not Path(given).is_absolute():
            yield f"{where} must be an absolute path"
    if file.audit.head_file is not None and (fault := write_fault(Path(file.audit.head_file))):
        yield f"audit.head_file {fault}"


def class_rules(file: PolicyFile) -> dict[ActionClass, Rule]:
    """Return the rule of every class, including defaults."""
    real = file.environment == "production"
    rules = dict.fromkeys(ActionClass, Rule.DENY if real else Rule.ASK) | {ActionClass.READ: Rule.ALLOW}
    if not real:
        rules[ActionClass.WRITE] = Rule.ALLOW
    return rules | rules_of(file.classes)


def rules_of(classes: Classes) -> dict[ActionClass, Rule]:
    """Return the rules that a table of classes sets."""
    return {ActionClass(name): Rule(rule) for name, rule in classes.model_dump(exclude_none=True).items()}


def _listed(action_classes: Collection[ActionClass]) -> str:
    return " or ".join(action_class.value for action_class in action_classes)


def _plain(name: str) -> bool:
    return re.fullmatch(r"[a-z_]{1,40}", name) is not None
