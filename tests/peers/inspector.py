"""What the Inspector's command line shows of a server: each method is a process of its own, and so is its server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
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
        """The exit code, and the result (or, after a failure, the error)."""
        command = [*self._command, "--method", method, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        said = json.loads((done.stdout or done.stderr).splitlines()[0])
        return done.returncode, said.get("result") or said["error"]

    def result(self, method: str, *options: str) -> dict[str, Any]:
        """The result of a method that must go well."""
        code, said = self.ask(method, *options)
        assert code == 0, said
        return said

    def session(self) -> dict[str, Any]:
        """What the other clients see too, as far as this one can."""
        # Each of these starts a server, so they are few.
        introduced = self.result("initialize")
        listed = self.result("tools/list", "--strict")
        prompt = self.result("prompts/get", "--prompt-name", "issue_card", "--prompt-args", "user_id=peer-1")
        linking = '{"user_id": "peer-1", "wallet_address": "0x' + "1" * 40 + '"}'
        _, refused = self.ask("tools/call", "--tool-name", "resolve_user", "--tool-args-json", linking)
        return {
            "server": introduced["serverInfo"],
            "instructions": introduced.get("instructions"),
            "capabilities": introduced.get("capabilities"),
            "tools": [tool["name"] for tool in listed["tools"]],
            "tools_again": [tool["name"] for tool in self.result("tools/list")["tools"]],
            "status": self.result("tools/call", "--tool-name", "status"),
            "resources": [found["uri"] for found in self.result("resources/list")["resources"]],
            "templates": [
                found["uriTemplate"] for found in self.result("resources/templates/list")["resourceTemplates"]
            ],
            "text": self.result("resources/read", "--uri", "machines://journey")["contents"][0]["text"],
            "prompts": [found["name"] for found in self.result("prompts/list")["prompts"]],
            "prompt": prompt["messages"][0]["content"]["text"],
            "no_dialog": json.loads(refused["content"][0]["text"])["code"],
        }
