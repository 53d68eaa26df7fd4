"""The Inspector's command line: each method is a separate process with a separate server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PROGRAM = Path("@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
SECONDS = 60


class Inspector:
    """Runs methods against the plan's server."""

    def __init__(self, node: Sequence[str], plan: Mapping[str, Any]) -> None:
        settings = [part for name, value in plan["env"].items() for part in ("-e", f"{name}={value}")]
        era = "modern" if plan["era"] == "2026-07-28" else "legacy"
        target = [plan["command"], *plan["args"], *settings, "--cwd", plan["cwd"]]
        self._command = [*node, "--cli", *target, "--format", "json", "-q", "--protocol-era", era]

    def ask(self, method: str, *options: str) -> tuple[int, dict[str, Any]]:
        """Return the exit code and the result, or the error after a failure."""
        command = [*self._command, "--method", method, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        said = json.loads((done.stdout or done.stderr).splitlines()[0])
        return done.returncode, said.get("result") or said["error"]

    def result(self, method: str, *options: str) -> dict[str, Any]:
        """Return the result of a method that must succeed."""
        code, said = self.ask(method, *options)
        assert code == 0, said
        return said

    def session(self) -> dict[str, Any]:
        """Record what the other clients record, as far as the Inspector can. Two methods run at a time, each with
        its own server."""
        linking = '{"user_id": "peer-1", "wallet_address": "0x' + "1" * 40 + '"}'
        with ThreadPoolExecutor(2) as pool:
            again = pool.submit(self.result, "tools/list")
            asked = pool.submit(self.ask, "tools/call", "--tool-name", "resolve_user", "--tool-args-json", linking)
            named = ("--prompt-name", "issue_card", "--prompt-args", "user_id=peer-1")
            found = {
                name: pool.submit(self.result, *command)
                for name, command in {
                    "introduced": ("initialize",),
                    "tools": ("tools/list", "--strict"),
                    "status": ("tools/call", "--tool-name", "status"),
                    "resources": ("resources/list",),
                    "templates": ("resources/templates/list",),
                    "prompts": ("prompts/list",),
                    "prompt": ("prompts/get", *named),
                }.items()
            }
            results = {name: future.result() for name, future in found.items()}
            refused = asked.result()[1]
            tools_again = again.result()["tools"]
        return {
            "server": results["introduced"]["serverInfo"],
            "instructions": results["introduced"].get("instructions"),
            "tools": [tool["name"] for tool in results["tools"]["tools"]],
            "tools_again": [tool["name"] for tool in tools_again],
            "status": results["status"],
            "resources": [found["uri"] for found in results["resources"]["resources"]],
            "templates": [found["uriTemplate"] for found in results["templates"]["resourceTemplates"]],
            "prompts": [found["name"] for found in results["prompts"]["prompts"]],
            "prompt": results["prompt"]["messages"][0]["content"]["text"],
            "no_dialog": json.loads(refused["content"][0]["text"])["code"],
        }
