"""Docs/client.md lists the client's methods, errors and options, and its examples run."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from machines_mcp.partner import PartnerClient, PartnerError, errors
from tests.contract.judge import contract
from tests.support.client_methods import client_methods
from tests.support.running_sandbox import Sandbox
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_method_is_listed_with_its_path() -> None:
    documented = {name: api for name, api, _ in rows("Methods")}
    methods = client_methods()
    waits = [name for name in methods if name.endswith(".wait")]
    assert sorted(documented) == sorted(set(methods) - set(waits))
    assert sorted(re.findall(r"`(\w+\.wait)\(", PAGE)) == sorted(waits)
    # `users.get` is `users.resolve` without a wallet.
    del documented["users.get"]
    assert sorted(documented.values()) == sorted(f"{op.method} {op.template}" for op in contract().operations)


def test_every_error_is_listed() -> None:
    kinds = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, PartnerError)]
    assert sorted(row[0] for row in rows("Errors")) == sorted(set(kinds) - {"PartnerError"})


def test_every_option_is_listed() -> None:
    options = [name for row in rows("Making one") for name in row[0].split(", ")]
    keywords = [p.name for p in inspect.signature(PartnerClient).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert sorted(options) == sorted(keywords)


@pytest.mark.anyio
async def test_the_code_on_the_page_runs(sandbox: Sandbox) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "client.md", "exec"), names)  # noqa: S102
    spendable_cents = names["spendable_cents"]
    assert callable(spendable_cents)
    with anyio.fail_after(PATIENCE):
        assert await spendable_cents(sandbox.base_url, sandbox.partner_key) == 0


def test_the_example_journey_succeeds_and_shows_no_card_number() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "journey.py"],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        "kyc: approved\n"
        "agreements accepted: True\n"
        "deposit: completed\n"
        "spending power in cents: 2500\n"
        r"card \d{4} is active, valid to \d{2}/\d{4}\n",
        done.stdout,
    )


def test_the_example_journey_takes_at_most_thirty_lines() -> None:
    text = (ROOT / "examples" / "journey.py").read_text(encoding="utf-8")
    docstring = (ast.get_docstring(ast.parse(text), clean=False) or "").count("\n") + 1
    assert len([line for line in text.splitlines()[docstring:] if line.strip()]) <= 30
