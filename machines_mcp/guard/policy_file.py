"""The operator's policy, from a TOML file to a `Policy`: read safely, checked whole, refused in one sentence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from machines_mcp.guard.effect import Effect
from machines_mcp.guard.limits import Limits
from machines_mcp.guard.owned_file import NotOwned, read_owned
from machines_mcp.guard.policy import (
    READ_ONLY,
    SENSITIVE,
    STRICTER,
    Policy,
    PolicyError,
    Rule,
    default_dialog,
)
from machines_mcp.guard.policy_model import Classes, Place, PolicyFile, fault, nearest
from machines_mcp.guard.stakes import Destination

MAX_BYTES = 64 * 1024
MAX_KEY_BYTES = 16 * 1024

Tools = Mapping[str, Collection[Effect]]
"""Every tool's name with the classes that its calls can have."""
KeyFault = Callable[[bytes], str | None]
"""Says what keeps a file's content from being a public key to seal to; None where nothing does."""


def load_policy(
    path: Path,
    environment: str,
    *,
    read_only: bool,
    tools: Tools,
    key_fault: KeyFault,
    user_id: str | None = None,
) -> Policy:
    """The policy in the file at `path`, for a server of this environment, pinned to `user_id` or to nobody.

    Raises:
        PolicyError: It can't be read safely, is broken, or contradicts itself or the environment.
    """
    file = _parsed(read_policy_file(path))
    for broken in (*_contradictions(file, environment, tools, user_id), *_wrong_paths(file, key_fault)):
        raise PolicyError(f"In the policy, {broken}.")
    return _built(file, str(path), tools, read_only=read_only)


def read_policy_file(path: Path) -> dict[str, Any]:
    """What the TOML says, unchecked.

    Raises:
        PolicyError: It is no TOML, or others could have written it.
    """
    try:
        text = read_owned(path, MAX_BYTES).decode("utf-8")
        return tomllib.loads(text)
    except NotOwned as error:
        raise PolicyError(f"The policy's file {error}.") from None
    except UnicodeDecodeError as error:
        line = bytes(error.object[: error.start]).count(b"\n") + 1
        raise PolicyError(f"The policy's file is not UTF-8, at line {line}.") from None
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"The policy's file is not TOML, {_line(str(error), text)}.") from None
    except RecursionError:
        raise PolicyError("The policy's file is not TOML that can be read: it is nested too deeply.") from None


def _line(message: str, text: str) -> str:
    # The parser's own words can hold a key of the file; only the number is taken out of them.
    found = re.search(r"\(at line (\d+), column \d+\)", message)
    return f"at line {found[1]}" if found else f"at line {text.count(chr(10)) + 1}, where it ends"


def _parsed(raw: dict[str, Any]) -> PolicyFile:
    try:
        return PolicyFile.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        # A misspelt key first: that another is missing often follows from it.
        first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    raise PolicyError(f"In the policy, {fault(first)}.")


# What contradicts itself, or where it is used


def _contradictions(file: PolicyFile, environment: str, tools: Tools, user_id: str | None) -> Iterator[str]:
    yield from _too_open(file, environment)
    if file.environment != environment:
        yield f"environment is not that of MACHINES_ENV, which is {environment}"
    yield from _wrong_tools(file, tools)
    yield from _wrong_users(file, user_id)
    yield from _wrong_sinks(file)
    if file.environment == "production" and set(file.approval.dialog or ()) - {"write"}:
        yield "approval.dialog may name only write in production: a program can answer a client's dialog"


def _too_open(file: PolicyFile, environment: str) -> Iterator[str]:
    if environment == "embedded":
        return
    why = "must be ask or deny: only embedded may allow it without a person"
    for effect, rule in _rules(file.classes).items():
        if effect in SENSITIVE and rule is Rule.ALLOW:
            yield f"classes.{effect} {why}"
    for name, given in file.tools.items():
        for effect, rule in (_rules(given) if isinstance(given, Classes) else {}).items():
            if effect in SENSITIVE and rule is Rule.ALLOW and _plain(name):
                yield f"tools.{name}.{effect} {why}"


def _wrong_tools(file: PolicyFile, tools: Tools) -> Iterator[str]:
    classes = _class_rules(file)
    for name, given in file.tools.items():
        where = f"tools.{name}"
        if name not in tools:
            yield f"{where if _plain(name) else 'tools has a name that'} is not a tool{nearest(name, list(tools))}"
            return
        if isinstance(given, Classes):
            for effect in _rules(given):
                if effect not in tools[name]:
                    yield f"{where}.{effect} is never met: that tool's calls are {_listed(tools[name])}"
            continue
        rule = Rule(given)
        if len(tools[name]) == 1:
            if rule is Rule.ALLOW and file.environment != "embedded" and SENSITIVE & set(tools[name]):
                yield f"{where} must be ask or deny: only embedded may allow it without a person"
            continue
        for effect in tools[name]:
            if STRICTER.index(rule) < STRICTER.index(classes[effect]):
                yield f"{where} is looser than classes.{effect}; write it class by class, as in {where}.{effect}"


def _wrong_users(file: PolicyFile, user_id: str | None) -> Iterator[str]:
    if user_id is None and file.users is None and file.environment != "embedded":
        yield 'users is missing: list the users, or say "any", or set MACHINES_USER_ID'
    if user_id is not None and isinstance(file.users, list) and user_id not in file.users:
        yield "users does not list MACHINES_USER_ID"


def _wrong_sinks(file: PolicyFile) -> Iterator[str]:
    reveal = file.reveal
    if reveal.model_cvc and not reveal.model:
        yield "reveal.model_cvc needs reveal.model"
    if reveal.sinks is None:
        return
    if "model" in reveal.sinks and not reveal.model:
        yield "reveal.sinks names model, which needs reveal.model = true"
    if reveal.model and "model" not in reveal.sinks:
        yield "reveal.model is true, but reveal.sinks does not name model"
    if "sealed" in reveal.sinks and reveal.sealed_key is None:
        yield "reveal.sinks names sealed, which needs reveal.sealed_key"


def _wrong_paths(file: PolicyFile, key_fault: KeyFault) -> Iterator[str]:
    for where, given in (("reveal.sealed_key", file.reveal.sealed_key), ("audit.head_file", file.audit.head_file)):
        if given is not None and not Path(given).is_absolute():
            yield f"{where} must be an absolute path"
    if file.reveal.sealed_key is not None:
        try:
            key = read_owned(Path(file.reveal.sealed_key), MAX_KEY_BYTES)
        except NotOwned as error:
            yield f"reveal.sealed_key {error}"
        else:
            wrong = key_fault(key)
            if wrong is not None:
                yield f"reveal.sealed_key can't be sealed to: {wrong}"
    if file.audit.head_file is not None and not Path(file.audit.head_file).parent.is_dir():
        yield "audit.head_file is in a folder that is not there"


# From the file to the policy


def _built(file: PolicyFile, source: str, tools: Tools, *, read_only: bool) -> Policy:
    classes, own = _class_rules(file), _tool_rules(file, tools)
    if read_only:
        classes = {Effect.READ: classes[Effect.READ]}
        own = {name: {e: r for e, r in rules.items() if e is Effect.READ} for name, rules in own.items()}
    real = file.environment == "production"
    dialog = file.approval.dialog
    through = file.identity.through_model
    return Policy(
        classes,
        READ_ONLY if read_only else "",
        environment=file.environment,
        source=source,
        tools={name: rules for name, rules in own.items() if rules},
        users=frozenset(file.users) if isinstance(file.users, list) else None,
        sinks=_sinks(file),
        reveal_model=file.reveal.model,
        reveal_model_cvc=file.reveal.model_cvc,
        sealed_key=_path(file.reveal.sealed_key),
        identity_through_model=not real if through is None else through,
        dialog=default_dialog(real) if dialog is None else frozenset(map(Effect, dialog)),
        limits=_limits(file),
        head_file=_path(file.audit.head_file),
    )


def _class_rules(file: PolicyFile) -> dict[Effect, Rule]:
    real = file.environment == "production"
    rules = dict.fromkeys(Effect, Rule.DENY if real else Rule.ASK) | {Effect.READ: Rule.ALLOW}
    if not real:
        rules[Effect.WRITE] = Rule.ALLOW
    return rules | _rules(file.classes)


def _tool_rules(file: PolicyFile, tools: Tools) -> dict[str, dict[Effect, Rule]]:
    """Where a tool is treated otherwise than its class."""
    classes, own = _class_rules(file), {}
    for name, given in file.tools.items():
        # One rule for several classes loosens none of them: that was refused.
        rules = _rules(given) if isinstance(given, Classes) else dict.fromkeys(tools[name], Rule(given))
        own[name] = {effect: rule for effect, rule in rules.items() if rule is not classes[effect]}
    return own


def _sinks(file: PolicyFile) -> frozenset[str]:
    if file.reveal.sinks is not None:
        return frozenset(file.reveal.sinks)
    found = {"none"} if file.environment == "production" else {"none", "page"}
    return frozenset(
        found | ({"model"} if file.reveal.model else set()) | ({"sealed"} if file.reveal.sealed_key else set())
    )


def _limits(file: PolicyFile) -> Limits:
    """In `production` what is not said is nothing at all, or the most careful figure."""
    out, rates, real = file.withdrawals, file.rates, file.environment == "production"
    periods = None if file.cards.max_limit_cents is None else file.cards.max_limit_cents.model_dump(exclude_none=True)
    places: frozenset[Destination] | None = frozenset() if real else None
    if out.destinations is not None:
        places = None if out.destinations == "any" else frozenset(map(_destination, out.destinations))

    def careful(said: int | None, otherwise: int) -> int | None:
        return otherwise if said is None and real else said

    return Limits(
        unbounded_cards=file.cards.unbounded,
        max_limit_cents={} if periods is None and real else periods,
        per_call_cents=careful(out.per_call_cents, 0),
        per_day_cents=careful(out.per_day_cents, 0),
        per_user_day_cents=out.per_user_day_cents,
        destinations=places,
        asks_per_minute=careful(rates.asks_per_minute, 5),
        mutations_per_hour=careful(rates.mutations_per_hour, 20),
        reveals_per_card_per_day=careful(rates.reveals_per_card_per_day, 3),
    )


def _destination(place: Place) -> Destination:
    return Destination(place.currency, place.network, place.address, place.extra_id)


def _rules(classes: Classes) -> dict[Effect, Rule]:
    return {Effect(name): Rule(rule) for name, rule in classes.model_dump(exclude_none=True).items()}


def _listed(effects: Collection[Effect]) -> str:
    return " or ".join(effect.value for effect in effects)


def _plain(name: str) -> bool:
    return re.fullmatch(r"[a-z_]{1,40}", name) is not None


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
