"""The helpers under pytest-asyncio, anyio's plugin with trio, unittest and no plugin, each in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytestmark = pytest.mark.check
SECONDS = 300
ROOT = Path(__file__).parents[2]

HEAD = """
import unittest
import pytest
from machines_mcp.testing import *
CARD = {"limit_amount_cents": 2000, "limit_frequency": "per30DayPeriod"}
"""
FIXTURES = """
async def test_user(machines_user, machines_simulator):
    card = await machines_user.call("create_card", **CARD)
    assert (await machines_user.simulator.spend(card["card_id"], 1500)).approved
    assert machines_simulator.state_dir == machines_user.simulator.state_dir

async def test_client(machines_client, machines_user):
    # A server without a user acts only for those that it has resolved.
    await machines_client.call_tool("resolve_user", {"user_id": machines_user.user_id})
    answer = await machines_client.call_tool("get_balances", {"user_id": machines_user.user_id})
    assert answer.structured_content["spending_power_cents"] == 10000

@pytest.mark.parametrize("machines_options", [{"user_id": "other", "balance_cents": 0, "answer": "decline"}])
async def test_options(machines_user):
    assert (await machines_user.call("get_balances"))["spending_power_cents"] == 0
    assert (await machines_user.try_call("create_card", **CARD))["code"] == "approval.refused"

@pytest.mark.xfail(strict=True, raises=AssertionError)
async def test_assert(machines_user):
    assert 1 + 1 == 3

async def test_xfail():
    async with ready_user() as user:
        pytest.xfail("known")
"""
MODULE_SCOPE = """
async def test_first_of_module(user):
    await user.call("create_card", **CARD)

async def test_second_of_module(user):
    assert len((await user.call("list_cards"))["cards"]) == 1
"""
MODULE_FIXTURE = """
async def user():
    async with ready_user() as found:
        yield found
"""
ANYIO = "pytestmark = pytest.mark.anyio\n"
TO_ASYNCIO = '@pytest.fixture(scope="module")\ndef anyio_backend():\n    return "asyncio"\n'
UNITTEST = """
class Tests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.user = await self.enterAsyncContext(ready_user())

    async def test_user(self):
        assert (await self.user.call("create_card", **CARD))["status"] == "active"

    @unittest.expectedFailure
    async def test_failure(self):
        self.assertEqual(await self.user.call("get_balances"), {})

    async def test_skip(self):
        async with simulator():
            self.skipTest("not here")
"""


# The oldest anyio that is allowed uses a name that the newest pytest deprecates.
WARNINGS = "\n    error\n    ignore:_pytest.python.CallSpec2"


def run(folder: Path, source: str, *options: str, **ini: str) -> tuple[dict[str, int], str]:
    """Run a module of tests in a pytest of its own; return its counts and its output."""
    folder.joinpath("conftest.py").write_text('pytest_plugins = ["machines_mcp.testing.pytest"]\n', encoding="utf-8")
    folder.joinpath("test_it.py").write_text(HEAD + dedent(source), encoding="utf-8")
    settings = "".join(f"{name} = {value}\n" for name, value in (ini | {"filterwarnings": WARNINGS}).items())
    folder.joinpath("pytest.ini").write_text(f"[pytest]\n{settings}", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *options, str(folder)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MACHINES_", "PYTEST_"))}
    environment = kept | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=SECONDS)
    last = done.stdout.strip().splitlines()[-1]
    return {what: int(count) for count, what in re.findall(r"(\d+) (\w+)", last.partition(" in ")[0])}, done.stdout


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_pytest_asyncio(scope: str, tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio")
    mark = f'import pytest_asyncio\npytestmark = pytest.mark.asyncio(loop_scope="{scope}")\n'
    source, expected = mark + FIXTURES, {"passed": 3, "xfailed": 2}
    if scope != "function":
        source += f'@pytest_asyncio.fixture(scope="module", loop_scope="{scope}")' + MODULE_FIXTURE + MODULE_SCOPE
        expected["passed"] += 2
    counts, output = run(tmp_path, source, asyncio_default_fixture_loop_scope="function")
    assert counts == expected, output


def test_pytest_asyncio_that_handles_every_async_test(tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio")
    ini = {"asyncio_mode": "auto", "asyncio_default_fixture_loop_scope": "function"}
    counts, output = run(
        tmp_path, FIXTURES + "@pytest.fixture" + MODULE_FIXTURE + MODULE_SCOPE.split("async def test_s")[0], **ini
    )
    assert counts == {"passed": 4, "xfailed": 2}, output


@pytest.mark.parametrize(
    ("mark", "mode"), [("pytest.mark.anyio", "auto"), ("[pytest.mark.anyio, pytest.mark.asyncio]", "strict")]
)
def test_two_plugins_for_one_test_are_refused_with_the_fix(mark: str, mode: str, tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio")
    source = f"pytestmark = {mark}\n{TO_ASYNCIO}\nasync def test_user(machines_user):\n    pass\n"
    counts, output = run(tmp_path, source, asyncio_mode=mode, asyncio_default_fixture_loop_scope="function")
    assert counts == {"error": 1}, output
    assert "both handle this test; remove pytest.mark.anyio, or unset asyncio_mode = auto" in output


@pytest.mark.parametrize("other", [(), ("-p", "no:asyncio")], ids=["beside pytest-asyncio", "alone"])
def test_anyio(other: tuple[str, ...], tmp_path: Path) -> None:
    source = ANYIO + TO_ASYNCIO + FIXTURES + '@pytest.fixture(scope="module")' + MODULE_FIXTURE + MODULE_SCOPE
    ini = {} if other else {"asyncio_default_fixture_loop_scope": "function"}
    counts, output = run(tmp_path, source, *other, **ini)
    assert counts == {"passed": 5, "xfailed": 2}, output


def test_anyio_with_trio_skips_the_fixtures_and_says_why(tmp_path: Path) -> None:
    pytest.importorskip("trio")
    source = """
    pytestmark = pytest.mark.anyio

    async def test_user(machines_user):
        assert (await machines_user.call("get_agreements"))["accepted"] is True

    async def test_direct(anyio_backend_name):
        if anyio_backend_name == "trio":
            with pytest.raises(RuntimeError, match="runs on asyncio only"):
                async with ready_user():
                    pass
    """
    counts, output = run(tmp_path, source, "-p", "no:asyncio")
    assert counts == {"passed": 3, "skipped": 1}, output
    assert "machines_mcp.testing runs on asyncio only" in output


def test_unittest(tmp_path: Path) -> None:
    counts, output = run(tmp_path, UNITTEST, "-p", "no:asyncio")
    assert counts == {"passed": 1, "xfailed": 1, "skipped": 1}, output
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "test_it"],
        cwd=tmp_path,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "OK (skipped=1, expected failures=1)" in done.stderr


def test_tests_without_a_loop(tmp_path: Path) -> None:
    source = """
    @pytest.mark.parametrize("machines_options", [{"balance_cents": 5000}])
    def test_blocking(machines_blocking_user):
        card = machines_blocking_user.call("create_card", **CARD)
        assert machines_blocking_user.simulator.spend(card["card_id"], 1500).approved
        pytest.xfail("known")

    def test_wrong(machines_user):
        pass

    @pytest.mark.parametrize("machines_options", [{"balance": 1}])
    def test_unknown(machines_blocking_user):
        pass
    """
    counts, output = run(tmp_path, source, "-p", "no:asyncio")
    assert counts == {"xfailed": 1, "errors": 2}, output
    assert "machines_user needs an async test that pytest-asyncio or anyio's plugin runs" in output
    assert "machines_options: 'balance' is no argument" in output


def test_in_parallel(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    counts, output = run(tmp_path, ANYIO + TO_ASYNCIO + FIXTURES, "-p", "no:asyncio", "-n", "2")
    assert counts == {"passed": 3, "xfailed": 2}, output


def test_the_package_needs_no_pytest() -> None:
    code = "import sys, machines_mcp.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=SECONDS, check=False).returncode == 0
