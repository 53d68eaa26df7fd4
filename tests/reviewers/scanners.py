"""Scanners that reviewers of MCP servers run, at the versions of locks/scanners.txt, without network or model."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 120
SERVER: Final = ("-m", "machines_mcp")

Lists = Mapping[str, Sequence[Mapping[str, Any]]]
"""The tools, prompts and resources that a client sees."""


@dataclass(frozen=True, order=True)
class Finding:
    """What a scanner objects to: its rule, and the tool; no tool if it is about the whole server."""

    rule: str
    tool: str = ""


@dataclass(frozen=True)
class Report:
    """What a scanner said. `checked` counts its checks or the tools that it read."""

    checked: int
    findings: tuple[Finding, ...]


class Scanners:
    """The scanners of an environment, each with a server whose state is new."""

    def __init__(self, programs: Path, home: Path) -> None:
        self._programs, self._home = programs, home

    def mcp_scanner(self, lists: Lists) -> Report:
        """Cisco's rules for hostile text (YARA) and for schemas, over every tool, prompt and resource."""
        files = []
        for kind, listed in lists.items():
            file = self._home / f"{kind}.json"
            file.write_text(json.dumps({kind: listed}), encoding="utf-8")
            files += [f"--{kind}", str(file)]
        options = ("--analyzers", "yara,schema", "--format", "raw", "--log-level", "error")
        said = self._run("mcp-scanner", *options, "static", *files)
        # The scanner prints warnings of its libraries first.
        results = json.loads(said[said.index("{\n") :])["scan_results"]
        return Report(len(results), tuple(sorted(itertools.chain.from_iterable(map(_alarms, results)))))

    def readiness(self, lists: Lists) -> Report:
        """Cisco's readiness checks of tool definitions."""
        script = str(Path(__file__).with_name("readiness.py"))
        found = json.loads(self._run("python", script, given=json.dumps(lists)).splitlines()[-1])
        return Report(len(lists["tools"]), tuple(sorted(Finding(rule, tool) for rule, tool in found)))

    def tdqs(self) -> Report:
        """Lint of how well the definitions speak to a model; errors and warnings."""
        said = json.loads(
            self._run("tdqs", "lint", "--command", self._command, "--format", "json", "--fail-on", "never")
        )
        found = [Finding(one["rule"], one.get("tool") or "") for one in said["findings"] if one["severity"] != "info"]
        return Report(len(said["tools"]), tuple(sorted(found)))

    def mcp_conform(self) -> Report:
        """Checks of the messages."""
        server = ("server", "--transport", "stdio", "--command", self._command)
        said = json.loads(self._run("mcp-conform", *server, "--format", "json"))
        found = [Finding(check["name"]) for check in said["checks"] if not check["passed"]]
        return Report(said["total"], tuple(sorted(found)))

    def mcp_quality(self) -> Report:
        """Contract, cost, security and safety. It calls the tools that only read."""
        said = json.loads(self._run("mcp-quality", "run", self._command, "--security", "--safety", "--json"))
        found = [
            Finding(one["code"], one.get("tool") or "")
            for part in said["families"].values()
            for one in part["findings"]
        ]
        return Report(said["families"]["contract"]["metrics"]["tools"], tuple(sorted(found)))

    @property
    def _command(self) -> str:
        return " ".join((sys.executable, *SERVER))

    def _run(self, program: str, *arguments: str, given: str = "") -> str:
        """Return what a program of the environment prints. Its exit code says only whether it objects."""
        home = self._home / program
        home.mkdir(parents=True, exist_ok=True)
        # The scanners pass only these on to the server, which keeps its state under HOME.
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=home,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode in {0, 1}, done.stderr[-2000:]
        return done.stdout


def _alarms(result: Mapping[str, Any]) -> Iterator[Finding]:
    name = next(result[key] for key in ("tool_name", "prompt_name", "resource_name") if key in result)
    for analyzer, verdict in result["findings"].items():
        if verdict["severity"] != "SAFE":
            yield from (Finding(f"{analyzer}:{threat}", name) for threat in verdict["threat_names"])


SCANNERS: Final[Mapping[str, Callable[[Scanners, Lists], Report]]] = {
    "mcp-scanner": Scanners.mcp_scanner,
    "mcp-scanner readiness": Scanners.readiness,
    "tdqs lint": lambda scanners, _: scanners.tdqs(),
    "mcp-conform": lambda scanners, _: scanners.mcp_conform(),
    "mcp-quality": lambda scanners, _: scanners.mcp_quality(),
}
