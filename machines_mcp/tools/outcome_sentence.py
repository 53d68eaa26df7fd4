"""What an approved call led to, in the tool's own sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machines_mcp.tools.catalog import TOOLS

_OUTPUTS = {tool.name: tool.output_model for tool in TOOLS}


def outcome_sentence(tool: str, outcome: Mapping[str, Any]) -> str:
    """Return the summary or the error's message of a stored outcome; empty if it can't be read."""
    from pydantic import ValidationError

    if "code" in outcome:
        return str(outcome.get("message", ""))
    try:
        return _OUTPUTS[tool].model_validate(outcome).summary() if outcome and tool in _OUTPUTS else ""
    except ValidationError:
        return ""
