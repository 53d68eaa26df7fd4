"""Print the rules of Cisco's readiness checks that each tool breaks. Runs in the scanners' environment.

The command line of the scanner prints only one summary per tool.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mcpscanner.core.analyzers.readiness.readiness_analyzer import ReadinessAnalyzer


async def broken(tools: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return pairs of a rule and a tool."""
    analyzer = ReadinessAnalyzer()
    found = []
    for tool in tools:
        findings = await analyzer.analyze(json.dumps(tool), {"tool_name": tool["name"]})
        found += [(finding.details["rule_id"], tool["name"]) for finding in findings]
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(broken(json.load(sys.stdin)["tools"]))))
