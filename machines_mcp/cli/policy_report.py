"""Report what a policy lets each tool do, and why, for `machines-mcp policy check`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from machines_mcp.cli.tools_table import format_groups
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Limits, Policy
from machines_mcp.permissions.policy_explanation import explain_rule, format_channels
from machines_mcp.permissions.policy_loader import read_policy_file
from machines_mcp.redaction.display import dollars
from machines_mcp.redaction.environment import Environment
from machines_mcp.server.settings import SettingsError
from machines_mcp.server.settings_reader import parse_flag, parse_user_id
from machines_mcp.server.state_folder import load_policy_file
from machines_mcp.tools.catalog import ACTION_CLASSES

_LIMIT_PATHS = {
    "unbounded_cards": "cards.unbounded",
    "max_limit_cents": "cards.max_limit_cents",
    "per_call_cents": "withdrawals.per_call_cents",
    "per_day_cents": "withdrawals.per_day_cents",
    "per_user_day_cents": "withdrawals.per_user_day_cents",
    "destinations": "withdrawals.destinations",
    "asks_per_minute": "rates.asks_per_minute",
    "mutations_per_hour": "rates.mutations_per_hour",
    "reveals_per_card_per_day": "rates.reveals_per_card_per_day",
    "locks_per_hour": "rates.locks_per_hour",
    "waiting_per_user": "approval.waiting_per_user",
    "total_asks_per_minute": "rates.total.asks_per_minute",
    "total_mutations_per_hour": "rates.total.mutations_per_hour",
}


def load_policy(path: Path, env: Mapping[str, str]) -> Policy:
    """Read a policy as a server with these variables would; without MACHINES_ENV, for the file's environment.

    Raises:
        PolicyError: The policy is invalid.
        SettingsError: A variable that matters here is invalid.
    """
    environment = env.get("MACHINES_ENV") or str(read_policy_file(path.absolute()).get("environment"))
    if environment not in set(Environment):
        if env.get("MACHINES_ENV"):
            raise SettingsError("MACHINES_ENV must be embedded, sandbox or production.")
        environment = Environment.EMBEDDED.value  # policy_in refuses the file's value
    return load_policy_file(
        path.absolute(),
        environment,
        read_only=parse_flag("MACHINES_READ_ONLY", env.get("MACHINES_READ_ONLY") or None),
        user_id=parse_user_id(env.get("MACHINES_USER_ID") or None),
    )


def report(policy: Policy) -> dict[str, Any]:
    """Return everything the policy decides, as JSON."""
    return {
        "policy": policy.source,
        "digest": policy.digest,
        "environment": policy.environment,
        "users": "any" if policy.users is None else sorted(policy.users),
        "tools": [
            _tool_rule(policy, tool, action_class)
            for tool, action_classes in ACTION_CLASSES.items()
            for action_class in action_classes
        ],
        "grants": {action_class.value: sorted(policy.channels(action_class)) for action_class in ActionClass},
        "passphrase": policy.needs_passphrase,
        "limits": limits_report(policy.limits),
        "chains": {str(chain_id): chain.describe() for chain_id, chain in sorted(policy.chains.items())},
        "sinks": {sink: sorted(policy.channels(ActionClass.REVEAL, sink)) for sink in sorted(policy.sinks - {"none"})},
        "reveal_model_cvc": policy.reveal_model_cvc,
        "reveal_copy": policy.reveal_copy,
        "identity_through_model": policy.identity_through_model,
        "identity_link_to_model": policy.identity_link_to_model,
        "audit_head_file": policy.head_file is not None,
    }


def limits_report(limits: Limits) -> dict[str, Any]:
    """Return each limit by its path; None means no limit."""
    found: dict[str, Any] = {_LIMIT_PATHS[field.name]: getattr(limits, field.name) for field in fields(limits)}
    periods, places = limits.max_limit_cents, limits.destinations
    found["cards.max_limit_cents"] = None if periods is None else dict(periods)
    if places is not None:
        destinations = [{name: value for name, value in asdict(place).items() if value is not None} for place in places]
        found["withdrawals.destinations"] = sorted(destinations, key=lambda place: list(place.values()))
    return found


def format_report(policy: Policy) -> str:
    """Return the report as text for a person."""
    content = report(policy)
    users = "any user" if content["users"] == "any" else f"the users listed ({len(content['users'])})"
    lines = [f"{policy.source}: valid, for {policy.environment} and {users}, digest {policy.digest[:12]}", ""]
    calls = [(tool, action_class) for tool, classes in ACTION_CLASSES.items() for action_class in classes]
    lines += format_groups(policy, calls)
    lines += ["", "Where a person can approve" + (", once a passphrase is set:" if policy.needs_passphrase else ":")]
    lines += [
        f"  {action_class:<22}{format_channels(channels)}"
        for action_class, channels in content["grants"].items()
        if action_class != "reveal"
    ]
    lines += [f"  reveal to {sink:<12}{format_channels(channels)}" for sink, channels in content["sinks"].items()]
    lines += ["", "Limits:"]
    lines += [f"  {path:<36}{_format_limit(path, value)}" for path, value in content["limits"].items()]
    lines += _format_chains(content["chains"])
    through = "through the model" if policy.identity_through_model else "through a form at the desk, not the model"
    link = "the model and the desk" if policy.identity_link_to_model else "the desk only"
    lines += ["", f"Identity data goes {through}. The link of the identity check goes to {link}."]
    copy = " A card's page has buttons that copy it." if policy.reveal_copy else ""
    lines += [f"Allowed reveal sinks: {', '.join(sorted(policy.sinks))}.{copy}"]
    return "\n".join(lines)


def _format_chains(chains: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["", "Transactions of withdrawals are planned for:"] if chains else []
    for chain_id, chain in chains.items():
        tokens = ", ".join(f"{address} ({decimals} decimals)" for address, decimals in chain["tokens"].items())
        lines.append(f"  chain {chain_id}: calls of {', '.join(chain['targets'])}; tokens: {tokens or 'any'}")
    return lines


def _tool_rule(policy: Policy, tool: str, action_class: ActionClass) -> dict[str, str]:
    return {
        "tool": tool,
        "class": action_class.value,
        "rule": policy.rule(action_class, tool).value,
        "why": explain_rule(policy, action_class, tool),
    }


def _format_limit(path: str, value: Any) -> str:
    if path == "cards.unbounded":
        return "cards without a limit are allowed" if value else "every card needs a limit over a period"
    if value is None:
        return "any" if path.endswith(("destinations", "max_limit_cents")) else "none"
    if path == "withdrawals.destinations":
        return ", ".join(_format_destination(place) for place in value) or "nowhere"
    if isinstance(value, dict):
        return ", ".join(f"{period} {dollars(cents)}" for period, cents in value.items()) or "no card limit is allowed"
    return dollars(value) if path.endswith("_cents") else str(value)


def _format_destination(place: Mapping[str, str]) -> str:
    memo = f" ({place['extra_id']})" if "extra_id" in place else ""
    return f"{place['address']}{memo} as {place['currency']} on {place['network']}"
