"""Say what the policy does with a call, and which of its keys decides that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import Channel
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.permissions.protective import CANCEL_APPROVAL

_CHANNEL_NAMES: Mapping[Channel, str] = {
    "dialog": "in the client's dialog",
    "desk": "at the desk",
    "terminal": "at a terminal",
    "page": "on the vault's page",
}


_NO_SINK = "no sink is allowed (reveal.sinks)"


def explain_rule(policy: Policy, action_class: ActionClass, tool: str | None = None) -> str:
    """Return what happens to a call of this class, or to such a call of this tool."""
    own = tool is not None and action_class in policy.tools.get(tool, {})
    key = f"tools.{tool}.{action_class}" if own else f"classes.{action_class}"
    rule = policy.rule(action_class, tool)
    if rule is Rule.DENY:
        return policy.reason(action_class, tool)
    if rule is Rule.ALLOW and tool == CANCEL_APPROVAL:
        return f"runs at once, because it asks nobody ({key})"
    if rule is Rule.ASK and action_class is ActionClass.REVEAL and not _sinks(policy):
        return _NO_SINK
    return f"{summarize_rule(policy, action_class, tool)} ({key})"


def summarize_rule(policy: Policy, action_class: ActionClass, tool: str | None) -> str:
    """Return what happens to such a call, without the key that decides it."""
    rule = policy.rule(action_class, tool)
    if rule is Rule.DENY:
        return f"denied: {policy.why}" if policy.why else "denied"
    if rule is Rule.ALLOW:
        return "runs at once"
    if action_class is not ActionClass.REVEAL:
        return f"requires approval {format_channels(policy.channels(action_class))}"
    shown = [policy.channels(action_class, sink) for sink in _sinks(policy)]
    return f"requires approval {format_channels(frozenset().union(*shown))}" if shown else f"denied: {_NO_SINK}"


def group_rules(policy: Policy, calls: Iterable[tuple[str, ActionClass]]) -> Iterator[tuple[str, list[str]]]:
    """Yield what happens to calls, with the tools and classes of these; denied calls first, those at once last."""
    found: dict[tuple[int, str], list[str]] = {}
    for tool, action_class in calls:
        place = (Rule.DENY, Rule.ASK, Rule.ALLOW).index(policy.rule(action_class, tool))
        found.setdefault((place, summarize_rule(policy, action_class, tool)), []).append(f"{tool} ({action_class})")
    for (_, summary), members in sorted(found.items()):
        yield summary, members


def _sinks(policy: Policy) -> Collection[str]:
    return policy.sinks - {"none"}


def format_channels(channels: Collection[Channel]) -> str:
    """List where a person can approve: `at the desk or at a terminal`."""
    words = [place for channel, place in _CHANNEL_NAMES.items() if channel in channels]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
