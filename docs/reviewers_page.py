"""Generate the tables of docs/reviewers.md: the scanners' record, the explained failures, and the licences."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from distribution import sbom
from tests.reviewers.recorded import explained, recorded, without_reason

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reviewers.md"
_FAILURE = re.compile(r"((?:^  # .*\n)+)  - (\S+)$", re.MULTILINE)
_PROGRAMS = {
    "mcp-scanner": ("cisco-ai-mcp-scanner", "hostile text (YARA) and schemas of tools, prompts and resources"),
    "mcp-scanner readiness": ("cisco-ai-mcp-scanner", "readiness checks of tool definitions"),
    "tdqs lint": ("tdqs", "how well definitions speak to a model; errors and warnings"),
    "mcp-conform": ("mcp-conform", "messages"),
    "mcp-quality": ("mcp-quality", "contract, cost, security and safety"),
}


def scanners() -> str:
    """Return a row per scanner."""
    versions = _versions()
    lines = [
        "| scanner | version | looks at | checked | alarms | without a reason |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, report in recorded().items():
        package, looks_at = _PROGRAMS[name]
        alarms, without = sum(map(len, report["rules"].values())), len(without_reason(name, report["rules"]))
        lines.append(f"| {name} | {versions[package]} | {looks_at} | {report['checked']} | {alarms} | {without} |")
    return "\n".join(lines) + "\n"


def alarms() -> str:
    """Return a row per rule that objects to something."""
    lines = ["| rule | says | where | | why it stands |", "| --- | --- | --- | --- | --- |"]
    for name, report in recorded().items():
        for rule, tools in report["rules"].items():
            reason = explained()[name][rule]
            kind = {"false": "false alarm", "accepted": "true, accepted"}[reason["kind"]]
            lines.append(f"| {name}: `{rule}` | {reason['says']} | {_where(tools)} | {kind} | {reason['why']} |")
    return "\n".join(lines) + "\n"


def failures() -> str:
    """Return a row per scenario of the conformance suite that fails or warns."""
    found: dict[str, tuple[str, list[str]]] = {}
    for revision in ("2025-11-25", "2026-07-28"):
        text = (ROOT / "tests" / "peers" / f"expected-failures.{revision}.yml").read_text(encoding="utf-8")
        for comment, scenario in _FAILURE.findall(text):
            why = " ".join(line.strip("# ") for line in comment.splitlines())
            found.setdefault(scenario, (why, []))[1].append(revision)
    lines = ["| scenario | revisions | why |", "| --- | --- | --- |"]
    lines += [f"| `{scenario}` | {', '.join(where)} | {why} |" for scenario, (why, where) in found.items()]
    return "\n".join(lines) + "\n"


def licences() -> str:
    """Return a row per licence with its packages."""
    lines = ["| licence | packages |", "| --- | --- |"]
    for licence, packages in sbom.licences().items():
        named = [f"{one.name} {one.version}{' (extra)' if one.optional else ''}" for one in packages]
        lines.append(f"| {licence} | {', '.join(named)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the whole page with new generated blocks."""
    text = PAGE.read_text(encoding="utf-8")
    for part in (scanners, alarms, failures, licences):
        name, made = part.__name__, part()
        pattern = re.compile(rf"(<!-- {name}: made by `make docs` -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, made=made: f"{match[1]}{made}{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"docs/reviewers.md has no place for {name}")
    return text


def _versions() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pins = (entry.split(";")[0].split("==") for entry in project["dependency-groups"]["scanners"])
    return {name: version for name, version in pins}


def _where(tools: list[str]) -> str:
    if tools == [""]:
        return "the server"
    return ", ".join(f"`{tool}`" for tool in tools) if len(tools) <= 3 else f"{len(tools)} tools"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
