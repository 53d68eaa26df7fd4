"""Test the doctor's checks, and that findings contain no values and no secrets."""

from __future__ import annotations

import json
import site
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

import machines_mcp
from machines_mcp.cli.doctor.finding import Finding
from machines_mcp.cli.doctor.run import run_checks
from machines_mcp.server.sandbox_process import SandboxProcess
from machines_mcp.testing.simulator_thread import start_thread
from machines_mcp.vault.client import can_start
from tests.partner.test_probe import READS, changed, script, script_success
from tests.support.partner_upstream import PARTNER_KEY, ScriptedUpstream, refusal, upstream
from tests.support.running_sandbox import Sandbox
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "user-canary"


@pytest.fixture
async def api() -> AsyncIterator[ScriptedUpstream]:
    async with upstream() as server:
        yield server


@contextmanager
def environment(tmp_path: Path, **settings: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        home = {name: str(tmp_path) for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA")}
        for name, value in (home | {"MACHINES_STATE_DIR": str(tmp_path / "state")} | settings).items():
            patch.setenv(name, value)
        yield


async def probe_findings(tmp_path: Path, base_url: str, key: str, user_id: str) -> list[Finding]:
    settings = {
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": base_url,
        "MACHINES_PARTNER_KEY": key,
        "MACHINES_USER_ID": user_id,
    }
    with environment(tmp_path, **settings), anyio.fail_after(PATIENCE):
        return [finding for finding in await run_checks(probe=True) if finding.check in READS]


async def test_the_simulator_passes_every_probe(tmp_path: Path) -> None:
    with environment(tmp_path, MACHINES_ENV="embedded"), anyio.fail_after(PATIENCE):
        findings = await run_checks(probe=True)
    rows = [finding.as_json() for finding in findings if finding.check in READS]
    assert [row["what"] for row in rows] == list(READS)
    assert {(row["ok"], row["status"], *row["missing"], *row["mistyped"], *row["extra"]) for row in rows} == {
        (True, 200)
    }


@pytest.mark.parametrize(
    ("installed_for_user", "cure"), [(True, "Install with pipx"), (False, "-I -m machines_mcp.vault")]
)
async def test_a_vault_that_cannot_start_is_reported_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed_for_user: bool, cure: str
) -> None:
    # Like a package that is only in the user's site-packages: an isolated interpreter cannot find it.
    missing = (sys.executable, "-I", "-m", "machines_mcp.no_such_module")
    assert can_start.__kwdefaults__ is not None
    monkeypatch.setitem(can_start.__kwdefaults__, "command", missing)
    if installed_for_user:
        monkeypatch.setattr(site, "getusersitepackages", lambda: str(Path(machines_mcp.__file__).parents[1]))
    with environment(tmp_path, MACHINES_ENV="embedded"), anyio.fail_after(PATIENCE):
        (found,) = [finding for finding in await run_checks() if finding.check == "vault"]
    assert not found.ok
    assert "does not start" in found.message
    assert cure in found.message


@pytest.mark.parametrize(("users", "shown"), [('["a"]', "the policy's 1 user"), ('["a", "b"]', "the policy's 2 users")])
async def test_the_settings_name_the_users_of_the_policy(tmp_path: Path, users: str, shown: str) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(f'version = 1\nenvironment = "embedded"\nusers = {users}\n', encoding="ascii")
    policy.chmod(0o600)
    with environment(tmp_path, MACHINES_ENV="embedded", MACHINES_POLICY=str(policy)), anyio.fail_after(PATIENCE):
        (found,) = [finding.message for finding in await run_checks() if finding.check == "settings"]
    assert found == f"embedded, the simulator on this machine, {shown}"


async def test_without_the_probe_no_request_is_sent(tmp_path: Path, api: ScriptedUpstream) -> None:
    settings = {"MACHINES_ENV": "sandbox", "MACHINES_API_URL": api.base_url, "MACHINES_USER_ID": USER}
    with environment(tmp_path, MACHINES_PARTNER_KEY=PARTNER_KEY, **settings), anyio.fail_after(PATIENCE):
        said = [finding.check for finding in await run_checks()]
    assert said == [
        "version",
        "settings",
        "partner key",
        "vault",
        "clients",
        "state",
        *("policy", "passphrase", "freeze", "clock", "audit", "files", "caller", "desk", "unresolved"),
        "partner API",
    ]
    assert api.seen == []


async def test_the_doctor_names_the_page_of_a_simulator(tmp_path: Path, sandbox: Sandbox) -> None:
    settings = {"MACHINES_ENV": "sandbox", "MACHINES_API_URL": sandbox.base_url, "MACHINES_USER_ID": USER}
    with environment(tmp_path, MACHINES_PARTNER_KEY=sandbox.partner_key, **settings), anyio.fail_after(PATIENCE):
        (separate,) = [finding.message for finding in await run_checks() if finding.check == "partner API"]
    assert separate.endswith(f"; the simulator's page: {sandbox.control_url}")
    with environment(tmp_path, MACHINES_ENV="embedded"), anyio.fail_after(PATIENCE):
        (own,) = [finding.message for finding in await run_checks() if finding.check == "partner API"]
        assert own == "the simulator starts; it has a page while a server uses it"
        simulator = SandboxProcess(tmp_path / "state" / "embedded", start_thread)
        running = await simulator.endpoint()
        try:
            (own,) = [finding.message for finding in await run_checks() if finding.check == "partner API"]
        finally:
            await simulator.close()
    assert own == f"the simulator runs; its page: {running.control_url}"


async def test_the_probe_reads_the_pinned_user_in_its_current_state(tmp_path: Path, sandbox: Sandbox) -> None:
    findings = await probe_findings(tmp_path, sandbox.base_url, sandbox.partner_key, "user-of-the-doctor")
    assert all(finding.ok for finding in findings)
    codes = {finding.check: finding.detail["status"] for finding in findings}
    assert (codes["GET /kyc/status"], codes["GET /agreements"], codes["GET /cards"]) == (200, 409, None)


async def test_api_schema_differences_are_reported_without_values(tmp_path: Path, api: ScriptedUpstream) -> None:
    script_success(api)
    script(api, "GET /balances", changed("getBalances", lambda d: d["balances"].pop("balanceDue")))
    script(api, "GET /cards", changed("listCards", lambda d: d["cards"][0].update(last4=["canary"], new="canary")))
    script(api, "GET /transactions", refusal(500, "canary"))
    findings = await probe_findings(tmp_path, api.base_url, PARTNER_KEY, USER)
    assert [(finding.check, finding.message) for finding in findings if not finding.ok] == [
        ("GET /balances", "200; missing balances.balanceDue"),
        ("GET /cards", "200; mistyped cards[].last4; extra cards[].new"),
        ("GET /transactions", "500; server_error"),
    ]
    assert json.loads(json.dumps([finding.as_json() for finding in findings]))
    assert "canary" not in repr(findings)
