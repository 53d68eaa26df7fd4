from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE

HEAVY = ("eth_abi", "eth_account", "eth_keys", "eth_utils", "httpx", "pyrevm", "solders", "truststore")
CODE = f"""
import pkgutil, sys, machines_mcp.chain
for module in pkgutil.iter_modules(machines_mcp.chain.__path__):
    if not module.name.startswith("solana"):
        __import__(f"machines_mcp.chain.{{module.name}}")
print([name for name in {HEAVY} if name in sys.modules])
"""


OF_CHAINS = ("eth_abi", "eth_account", "eth_keys", "pyrevm", "solders")
LOADED = f"""
import sys
from machines_mcp.server.app import App
from machines_mcp.server.settings_reader import read_settings
app = App(read_settings({{"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": sys.argv[1]}}))
assert len(app.load().registry.listing) > 25 and app.plans
print([name for name in {OF_CHAINS} if name in sys.modules])
"""


@pytest.mark.check
def test_a_loaded_server_has_no_library_of_chains_until_a_plan_is_made(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOADED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.check
def test_the_modules_of_plans_load_no_library_of_chains() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.strip() == "[]"
