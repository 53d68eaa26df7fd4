"""Load the operator's policy: read the TOML file safely, validate it, and report the first error in one sentence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import (
    READ_ONLY,
    RETENTION_DAYS,
    WAITING_PER_USER,
    Limits,
    Policy,
    PolicyError,
    Rule,
    SealingKey,
    default_dialog,
)
from machines_mcp.permissions.policy_chains import chain_entries
from machines_mcp.permissions.policy_fault import fault
from machines_mcp.permissions.policy_schema import Classes, DestinationSection, PolicyFile
from machines_mcp.permissions.policy_validation import (
    Tools,
    class_rules,
    contradictions,
    rates_of_each_user,
    rules_of,
    sinks_of,
)
from machines_mcp.permissions.protective import LOCKS_PER_HOUR
from machines_mcp.storage.trusted_file import NotOwned, read_owned
from machines_mcp.storage.withdrawals import Destination

MAX_BYTES = 64 * 1024
MAX_KEY_BYTES = 16 * 1024
TOTAL_OF_USERS = 10
"""The default of a total rate, as a multiple of each user's: one user can't use it up, and the folder stays bounded."""

Thumbprint = Callable[[bytes], str]
"""Returns a public key's thumbprint. Raises ValueError with the reason if the content is not a usable public key."""


def load_policy(
    path: Path,
    environment: str,
    *,
    read_only: bool,
    tools: Tools,
    thumbprint: Thumbprint,
    user_id: str | None = None,
) -> Policy:
    """Return the policy in the file at `path`. `user_id` is the user that the server is pinned to, if any.

    Raises:
        PolicyError: The file can't be read safely, is invalid, or contradicts itself or the environment.
    """
    file = _parsed(read_policy_file(path))
    for broken in contradictions(file, environment, tools, user_id):
        raise PolicyError(f"In the policy, {broken}.")
    key = _sealing_key(file.reveal.sealed_key, thumbprint)
    return _built(file, str(path), tools, key, read_only=read_only)


def read_policy_file(path: Path) -> dict[str, Any]:
    """Return the parsed TOML, without validation.

    Raises:
        PolicyError: The file is not TOML, or other users could have written it.
    """
    try:
        text = read_owned(path, MAX_BYTES).decode("utf-8")
        return tomllib.loads(text)
    except NotOwned as error:
        raise PolicyError(f"The policy file {error}.") from None
    except UnicodeDecodeError as error:
        line = bytes(error.object[: error.start]).count(b"\n") + 1
        raise PolicyError(f"The policy file is not valid UTF-8 at line {line}.") from None
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"The policy file is not valid TOML {_line(str(error), text)}.") from None
    except RecursionError:
        raise PolicyError("The policy file is not TOML that can be parsed: it is nested too deeply.") from None


def _line(message: str, text: str) -> str:
    # The parser's message can quote a key of the file, so only the line number is used.
    found = re.search(r"\(at line (\d+), column \d+\)", message)
    return f"at line {found[1]}" if found else f"at line {text.count(chr(10)) + 1} (end of file)"


def _parsed(raw: dict[str, Any]) -> PolicyFile:
    try:
        return PolicyFile.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        # Report a misspelled key first: a missing key is often its consequence.
        first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    raise PolicyError(f"In the policy, {fault(first)}.")


def _sealing_key(path: str | None, thumbprint: Thumbprint) -> SealingKey | None:
    """Read the key once: nobody can exchange it between a person's yes and the reveal."""
    if path is None:
        return None
    try:
        jwk = read_owned(Path(path), MAX_KEY_BYTES)
        return SealingKey(jwk, thumbprint(jwk))
    except NotOwned as error:
        raise PolicyError(f"In the policy, reveal.sealed_key {error}.") from None
    except ValueError as error:
        raise PolicyError(f"In the policy, reveal.sealed_key is not a usable public key: {error}.") from None


# Building the policy


def _built(file: PolicyFile, source: str, tools: Tools, key: SealingKey | None, *, read_only: bool) -> Policy:
    classes, own = class_rules(file), _tool_rules(file, tools)
    if read_only:
        classes = {ActionClass.READ: classes[ActionClass.READ]}
        own = {name: {e: r for e, r in rules.items() if e is ActionClass.READ} for name, rules in own.items()}
    real = file.environment == "production"
    dialog = file.approval.dialog
    through, link = file.identity.through_model, file.identity.link_to_model
    return Policy(
        classes,
        READ_ONLY if read_only else "",
        environment=file.environment,
        source=source,
        tools={name: rules for name, rules in own.items() if rules},
        users=frozenset(file.users) if isinstance(file.users, list) else None,
        sinks=sinks_of(file),
        reveal_model=file.reveal.model,
        reveal_model_cvc=file.reveal.model_cvc,
        reveal_copy=file.reveal.may_copy,
        sealed_key=key,
        identity_through_model=not real if through is None else through,
        identity_link_to_model=not real if link is None else link,
        dialog=default_dialog(real) if dialog is None else frozenset(map(ActionClass, dialog)),
        limits=_limits(file),
        chains=chain_entries(file.chain),
        head_file=_path(file.audit.head_file),
        retention_days=RETENTION_DAYS if file.retention.days is None else file.retention.days,
    )


def _tool_rules(file: PolicyFile, tools: Tools) -> dict[str, dict[ActionClass, Rule]]:
    """Return the rules of tools that differ from the rule of the class."""
    classes, own = class_rules(file), {}
    for name, given in file.tools.items():
        # `contradictions` has rejected a single rule that would loosen a class.
        rules = rules_of(given) if isinstance(given, Classes) else dict.fromkeys(tools[name], Rule(given))
        own[name] = {action_class: rule for action_class, rule in rules.items() if rule is not classes[action_class]}
    return own


def _limits(file: PolicyFile) -> Limits:
    """Return the limits. In `production`, a missing limit defaults to zero, to nothing allowed or to a low rate."""
    out, real = file.withdrawals, file.environment == "production"
    periods = None if file.cards.max_limit_cents is None else file.cards.max_limit_cents.model_dump(exclude_none=True)
    places: frozenset[Destination] | None = frozenset() if real else None
    if out.destinations is not None:
        places = None if out.destinations == "any" else frozenset(map(_destination, out.destinations))

    def careful(said: int | None, otherwise: int) -> int | None:
        return otherwise if said is None and real else said

    of_each, total, waiting = rates_of_each_user(file), file.rates.total, file.approval.waiting_per_user
    return Limits(
        unbounded_cards=file.cards.unbounded,
        max_limit_cents={} if periods is None and real else periods,
        per_call_cents=careful(out.per_call_cents, 0),
        per_day_cents=careful(out.per_day_cents, 0),
        per_user_day_cents=out.per_user_day_cents,
        destinations=places,
        asks_per_minute=of_each["asks_per_minute"],
        mutations_per_hour=of_each["mutations_per_hour"],
        reveals_per_card_per_day=of_each["reveals_per_card_per_day"],
        total_asks_per_minute=_total(total.asks_per_minute, of_each["asks_per_minute"]),
        total_mutations_per_hour=_total(total.mutations_per_hour, of_each["mutations_per_hour"]),
        locks_per_hour=LOCKS_PER_HOUR if file.rates.locks_per_hour is None else file.rates.locks_per_hour,
        waiting_per_user=WAITING_PER_USER if waiting is None else waiting,
    )


def _total(said: int | None, of_each: int | None) -> int | None:
    return said if said is not None or of_each is None else TOTAL_OF_USERS * of_each


def _destination(place: DestinationSection) -> Destination:
    return Destination(place.currency, place.network, place.address, place.extra_id)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
