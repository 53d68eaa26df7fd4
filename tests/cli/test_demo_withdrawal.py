"""The demo of a withdrawal: from the quote to the balance, on a chain of the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

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
