from __future__ import annotations

import subprocess
import sys

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


@pytest.mark.check
def test_the_modules_of_plans_load_no_library_of_chains() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.strip() == "[]"
