"""Build `tools/call` results as the objects that the SDK serializes, and allow the values they show verbatim."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic_core import to_json

from machines_mcp.protocol.allowance import Allowance
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.result_size import fits, shortened, surely_fits
from machines_mcp.protocol.tool import Output
from machines_mcp.protocol.tool_call import ToolCall
from machines_mcp.protocol.withheld import withheld_error, withheld_unclear
from machines_mcp.redaction.foreign_text import MASK_KEY, Mask
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.verbatim import AddressOrMemo, Identifier, collect_verbatim, find_verbatim

STATUS = NextStep("status", "Check the current state and what can be done.")
_PAYEES_LEFT_OUT = (
    "Addresses and memos are left out, because Machines put the user's identity data into one. Tell the operator."
)
_ABSENT = "The next step needs {}, which this server's toolsets or policy disable; tell the user."


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A tool's result: the outcome to store, its summary, values never stored, and values to show verbatim."""

    outcome: dict[str, Any]
    summary: str
    ephemeral: dict[str, str]
    verbatim: frozenset[str]


def tool_run(output: Output, output_filter: OutputFilter, user_id: str) -> ToolRun:
    """Split the output of a user's call into what to store, show once and show verbatim.

    Texts from outside are masked. Ids, addresses and memos can't be masked, so those that repeat the user's identity
    data are left out.
    """
    mask: Mask = partial(output_filter.mask_text, user_id)
    kept = output.model_dump(mode="json", exclude_none=True, context={MASK_KEY: mask})
    repeats = partial(output_filter.identity_echoes.found_in, user_id)
    exact = find_verbatim(output)
    repeated = {str(one) for one in exact if isinstance(one, Identifier) and repeats(str(one))}
    payees = {str(one) for one in exact if isinstance(one, AddressOrMemo)}
    if any(map(repeats, payees)):
        # Money sent without its memo is lost, so no address is shown without its memo, either.
        repeated |= payees
        kept["next_steps"] = _steps_without_payees(kept["next_steps"])
    kept = _without(kept, repeated) if repeated else kept
    if repeated:
        output = output.model_copy(update={name: None for name, value in output if _is_one(value, repeated)})
    return ToolRun(kept, output.summary(), output.ephemeral(), frozenset({str(one) for one in exact} - repeated))


def _steps_without_payees(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first, *rest = steps or [STATUS.payload()]
    return [first | {"why": _PAYEES_LEFT_OUT}, *rest]


def _without(node: Any, values: Collection[str]) -> Any:
    """Return JSON without the members that are one of `values`."""
    if isinstance(node, dict):
        return {name: _without(value, values) for name, value in node.items() if not _is_one(value, values)}
    return [_without(value, values) for value in node if not _is_one(value, values)] if isinstance(node, list) else node


def _is_one(value: Any, values: Collection[str]) -> bool:
    return isinstance(value, str) and value in values


class ResponseBuilder:
    """Builds results and errors. `stamp` is added to each: the environment, and `simulated` in embedded mode."""

    def __init__(self, registry: Registry, stamp: Mapping[str, Any]) -> None:
        self._registry = registry
        self.stamp = dict(stamp)

    def begin(self, allowance: Allowance) -> None:
        """Note a tool call. If its response is withheld, the client gets an error result."""
        allowance.begin(lambda: self.error(allowance, withheld_unclear().payload()))

    def fitting(self, call: ToolCall, ran: ToolRun) -> ToolRun:
        """Return the run, without the entries of its lists that would make the response too long.

        Raises:
            ToolError: It is too long without them, too.
        """
        if fits(ran.outcome):
            return ran
        outcome, left = shortened(ran.outcome)
        if not fits(outcome):
            raise ToolError(Code.PARTNER_MALFORMED, message="Machines sent more than a response can show.")
        outcome["next_steps"] = self._steps_to_the_rest(call, outcome, left)
        summary = f"{ran.summary} {left} more entries are not listed."
        return replace(ran, outcome=outcome, summary=summary, verbatim=ran.verbatim | collect_verbatim(call.arguments))

    def _steps_to_the_rest(self, call: ToolCall, outcome: Mapping[str, Any], left: int) -> list[dict[str, Any]]:
        """Return the next steps. The first one says that entries are left out and, if it can, how to get them."""
        why = f"{left} more entries did not fit into the response and are not listed."
        steps = list(outcome["next_steps"])
        limit = getattr(call.arguments, "limit", None)
        if isinstance(limit, int):
            pinned = {"user_id"} if self._registry.principal.pinned is not None else set()
            given = call.arguments.model_dump(mode="json", exclude_unset=True, exclude=pinned)
            sizes = [len(found) for name, found in outcome.items() if isinstance(found, list) and name != "next_steps"]
            fewer = given | {"limit": max(1, min(limit, *sizes))}
            return [NextStep(call.tool.name, f"{why} Get fewer at a time.", fewer).payload(), *steps]
        first, *rest = steps or [STATUS.payload()]
        return [first | {"why": f"{why} {first['why']}"}, *rest]

    def result(self, call: ToolCall, ran: ToolRun) -> dict[str, Any]:
        """Return the successful result of a call.

        The first text repeats the object, because some clients read only that. The second, the summary, is for people.
        """
        body = self._stamped(ran.outcome | ran.ephemeral)
        text = to_json(body).decode()
        if not surely_fits(text):
            ran = self.fitting(call, ran)
            body = self._stamped(ran.outcome | ran.ephemeral)
            text = to_json(body).decode()
        content = [_text(text), _text(ran.summary)]
        if ran.verbatim or ran.ephemeral:
            # A sentence of ours with an address in it is shown whole, too.
            exact = {ran.summary} if any(one in ran.summary for one in ran.verbatim) else set()
            call.allowance.allow(ran.verbatim.union(ran.ephemeral.values(), exact))
        self._note_withheld(call)
        return {"resultType": "complete", "content": content, "structuredContent": body}

    def _note_withheld(self, call: ToolCall) -> None:
        # Keep nothing of the arguments: a cancelled call is forgotten late.
        allowance, tool, action_class = call.allowance, call.tool.name, call.request.action_class
        user_id = "" if self._registry.principal.pinned is not None else call.request.user_id

        def instead() -> dict[str, Any]:
            return self.error(allowance, withheld_error(tool, action_class, user_id).payload())

        allowance.prefer(instead)

    def error(self, allowance: Allowance, payload: dict[str, Any]) -> dict[str, Any]:
        """Return an error result. If none of its next steps is usable, the message says to tell the user."""
        allowance.allow(collect_verbatim(payload))
        steps, usable = payload["next_steps"], self._registry.usable_names
        if steps and not any(step["tool"] in usable for step in steps):
            payload = payload | {"message": f"{payload['message']} {_ABSENT.format(steps[0]['tool'])}"}
        return {"resultType": "complete", "content": [_object(self._stamped(payload))], "isError": True}

    def _stamped(self, body: dict[str, Any]) -> dict[str, Any]:
        # Drop steps to tools that settings or policy disable: the call would be wasted.
        usable = self._registry.usable_names
        steps = [step for step in body["next_steps"] if step["tool"] in usable]
        return body | self.stamp | {"next_steps": steps}


def _object(body: dict[str, Any]) -> dict[str, str]:
    return _text(to_json(body).decode())


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
