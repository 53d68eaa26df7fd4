"""The demo of a withdrawal: from the quote to the balance, on a chain of the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from machines_mcp.cli.demo import withdrawal
from tests.support.waiting import PATIENCE

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)


@pytest.mark.check
def test_the_demo_ends_with_the_balance_after_the_withdrawal() -> None:
    env = {"PATH": os.environ["PATH"], "CI": "1"}
    command = [sys.executable, "-m", "machines_mcp", "demo", "--withdraw", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["tool"] for line in lines if not line["ok"]] == []
    assert [line["result"]["stage"] for line in lines if "stage" in line["result"]] == ["sign", "send", "done"]
    assert (lines[-1]["tool"], lines[-1]["result"]["spending_power_cents"]) == ("get_balances", 75_00)


@pytest.mark.parametrize("absent", ["pyrevm", "eth_account"])
def test_a_missing_part_is_named(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    real = withdrawal.find_spec
    monkeypatch.setattr(withdrawal, "find_spec", lambda name: None if name == absent else real(name))
    said = withdrawal.missing()
    assert said is not None
    assert ("machines-mcp[sandbox-chain]" in said) == (absent == "eth_account")
    assert ("CPython 3.11 and 3.12" in said) == (absent == "pyrevm")
    monkeypatch.undo()
    assert withdrawal.missing() is None
