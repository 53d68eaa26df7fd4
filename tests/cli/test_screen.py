"""Text fits the terminal at any width, and output to a pipe or file is never cut."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Callable
from contextvars import Context
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.cli import screen
from machines_mcp.cli.client_configs.clients import CLIENTS
from machines_mcp.cli.commands import run
from machines_mcp.cli.doctor.finding import Finding, verdict
from machines_mcp.cli.main import main
from machines_mcp.cli.screen import wrapped
from machines_mcp.sandbox.process import Announcement, Options
from tests.cli.test_root import BAD, ID


@given(line=st.text("ab c", max_size=300), width=st.integers(40, 120))
def test_a_wrapped_line_keeps_its_words(line: str, width: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "screen_width", lambda *_: width)
        text = wrapped(line, 4)
        patch.setattr(screen, "screen_width", lambda *_: None)
        assert wrapped(line, 4) == line
    assert text.split() == line.split()
    assert all(len(shown) <= width or " " not in shown.strip() for shown in text.splitlines())


def test_the_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdout:
        def __init__(self, is_terminal: bool) -> None:
            self.isatty = lambda: is_terminal

    monkeypatch.setenv("COLUMNS", "97")
    monkeypatch.setattr("machines_mcp.cli.screen.sys.stdout", Stdout(True))
    assert screen.screen_width() == 97
    monkeypatch.setattr("machines_mcp.cli.screen.sys.stdout", Stdout(False))
    assert screen.screen_width() is None


def test_only_one_module_prints() -> None:
    package = Path(screen.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and path.name != "screen.py":
                assert ast.unparse(node.func) not in ("click.echo", "click.secho", "print"), f"{path}:{node.lineno}"


GOOD: list[tuple[str, ...]] = [
    ("status",),
    *(("install", client) for client in CLIENTS),
    ("install", "cursor"),
    *(("uninstall", client) for client in CLIENTS),
    ("uninstall", "cursor"),
    ("install", "cursor", "--project", "--link"),
    ("freeze",),
    ("freeze", "--user", "user-1"),
    ("unfreeze", "--user", "user-1"),
    ("unfreeze",),
    ("unfreeze",),
    ("approve",),
    ("approve", ID),
    ("audit", "show"),
    ("audit", "verify"),
    ("keypair", "{folder}/key"),
    ("passphrase", "--status"),
    ("state", "prune"),
    ("state", "forget", "user-1", "--yes"),
    ("state", "rebase-clock"),
    ("tools",),
    ("policy", "check", "{folder}/nothing.toml"),
]


@pytest.mark.parametrize("width", [80, 60])
def test_every_message_fits_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(screen, "screen_width", lambda *_: width)
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA", "CODEX_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    long = 0
    for arguments in (*BAD, *GOOD):
        given = [argument.replace("{folder}", str(tmp_path)) for argument in arguments]
        shown = invoke(tmp_path, *given)
        for line in (*shown.stdout.splitlines(), *shown.stderr.splitlines()):
            assert len(line) <= width or " " not in line.strip(), (given, line)
            long += len(line) > width // 2
    assert long > len(GOOD)


def test_what_is_printed_for_a_program_is_never_wrapped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "word " * 40
    monkeypatch.setattr(screen, "screen_width", lambda err=False: 80 if err else None)
    screen.emit(text)
    screen.say(text)
    screen.say(f"  {text}\nshort ", err=True)
    shown = capsys.readouterr()
    assert shown.out == f"{text}\n" * 2
    *lines, last = shown.err.splitlines()
    assert last == "short " and all(line.startswith("  word") and len(line) <= 80 for line in lines)


@pytest.mark.parametrize("at_terminal", [True, False])
def test_the_simulator_says_at_a_terminal_how_to_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_terminal: bool
) -> None:
    found: Announcement = {"base_url": "http://127.0.0.1:1/v1", "partner_key": "mk-1", "control_url": "http://c"}

    def serve(options: Options, announce: Callable[[Announcement], None]) -> int:
        assert options == Options(0, None, False, False)
        announce(found)
        return 0

    monkeypatch.setattr("machines_mcp.sandbox.process.run", serve)
    monkeypatch.setattr(run, "at_terminal", lambda: at_terminal)
    shown = invoke(tmp_path, "sandbox")
    assert (shown.exit_code, shown.stderr) == (0, "")
    if not at_terminal:
        assert shown.stdout == json.dumps(found) + "\n"
        return
    assert all(str(value) in shown.stdout for value in found.values())
    assert "MACHINES_API_URL=http://127.0.0.1:1/v1" in shown.stdout and "until Ctrl-C" in shown.stdout


def test_the_simulator_shows_its_chains_and_wallet_at_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, tokens = ["0x" + "aa" * 20], [{"address": "0x" + "bb" * 20, "decimals": 6}]
    chains = {
        str(number): {"rpc_url": f"http://127.0.0.1:1/chain/{number}", "targets": targets, "tokens": tokens}
        for number in (1, 2)
    }
    wallet = {"address": "0xab", "private_key": "0xcd"}
    urls = {"base_url": "http://127.0.0.1:1/v1", "partner_key": "mk-1", "control_url": "http://c"}

    def serve(options: Options, announce: Callable[[Announcement], None]) -> int:
        assert options == Options(0, None, False, False, chain=True)
        announce({**urls, "wallet": wallet, "chains": chains})
        return 0

    monkeypatch.setattr("machines_mcp.sandbox.process.run", serve)
    monkeypatch.setattr("machines_mcp.sandbox.__main__.find_spec", lambda name: object())
    monkeypatch.setattr(run, "at_terminal", lambda: True)
    shown = invoke(tmp_path, "sandbox", "--chain").stdout
    assert "and its key:\n0xab\n0xcd\n" in shown
    assert "\nexport MACHINES_RPC_URL_2=http://127.0.0.1:1/chain/2\n" in shown
    pasted = tomllib.loads(shown[shown.index("[chain.1]") :])
    assert pasted["chain"] == {number: {"targets": targets, "tokens": tokens} for number in chains}


def invoke(tmp_path: Path, *arguments: str) -> Result:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")}
    return Context().run(CliRunner().invoke, main, list(arguments), env=env)


@pytest.mark.parametrize("width", [110, 80])
def test_the_tables_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(screen, "screen_width", lambda *_: width)
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nenvironment = "embedded"\n', encoding="ascii")
    policy.chmod(0o600)
    for arguments in (("tools",), ("policy", "check", str(policy)), ("audit", "show"), ("approve",)):
        shown = invoke(tmp_path, *arguments)
        assert shown.exit_code == 0
        assert not [line for line in shown.stdout.splitlines() if len(line) > width and str(tmp_path) not in line]


def test_the_doctors_verdict_names_the_checks_that_failed() -> None:
    good, bad = Finding(True, "version", "1"), Finding(False, "policy", "invalid")
    unprotected = Finding(True, "caller", "same user", warning=True)
    assert verdict([good, good]) == "Ready: all 2 checks passed."
    assert verdict([good, bad, bad]) == "Not ready: 2 of 3 checks failed (policy)."
    assert verdict([good, unprotected]) == "Ready, with 1 warning (caller)."
    assert verdict([unprotected, unprotected, good]) == "Ready, with 2 warnings (caller)."
    assert verdict([unprotected, bad]) == "Not ready: 1 of 2 checks failed (policy)."


@pytest.mark.parametrize(("typed", "meant"), [
    ("get_cards", "get_card"), ("create-card", "create_card"), ("GET_BALANCE", "get_balances"),
    ("revealcard", "reveal_card"), ("zzz", None), ("status", None),
])  # fmt: skip
def test_a_mistyped_tool_is_told_the_nearest(tmp_path: Path, typed: str, meant: str | None) -> None:
    result = invoke(tmp_path, "call", typed)
    assert result.exit_code == (0 if typed == "status" else 1)
    hints = [line for line in result.stderr.splitlines() if "mean" in line]
    assert hints == ([f"Did you mean {meant}?"] if meant else [])


@pytest.mark.parametrize("at_terminal", [True, False])
def test_a_server_at_a_terminal_says_what_it_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_terminal: bool
) -> None:
    class Stdin:
        def isatty(self) -> bool:
            return at_terminal

    async def end(settings: object) -> None:
        raise SystemExit(0)

    monkeypatch.setattr("machines_mcp.server.stdio.serve", end)
    monkeypatch.setattr("machines_mcp.cli.commands.run.sys.stdin", Stdin())
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    monkeypatch.setattr("machines_mcp.cli.commands.run.say", lambda text, err=False: said.append(f"{err}: {text}"))
    with pytest.raises(SystemExit):
        Context().run(main.main, ["serve"], standalone_mode=False)
    assert said == ([f"True: {run.AT_TERMINAL}"] if at_terminal else [])
    assert "\n" not in run.AT_TERMINAL and "demo" in run.AT_TERMINAL and "install" in run.AT_TERMINAL
