"""Opening a page in the browser: only on a desktop, at a limited rate, detached, and without our settings."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.server.browser import MIN_INTERVAL_SECONDS, browser_command, open_page
from tests.support.waiting import wait_until

URL = "http://127.0.0.1:1/kyc/x"


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate a desktop whose opener records how it was started. Return the folder of the records."""
    tools = tmp_path / "bin"
    tools.mkdir()
    script = tools / "xdg-open"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "ends = [os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)]\n"
        "ours = [name for name in os.environ if name.startswith('MACHINES_')]\n"
        f"note = {str(tmp_path)!r} + '/started-' + str(os.getpid())\n"
        "with open(note + '.part', 'w') as file:\n"
        "    json.dump([sys.argv[1:], ends, ours, os.getsid(0) == os.getpid()], file)\n"
        "os.rename(note + '.part', note + '.json')\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    for name in ("CI", "SSH_CONNECTION", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for name in ("SUDO_UID", "PKEXEC_UID", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("MACHINES_PARTNER_KEY", "key-of-the-partner")
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


@pytest.mark.parametrize(
    ("environ", "platform", "opens"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ":0", "CI": "true"}, "linux", False),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1 2 3 4"}, "linux", False),
        ({}, "darwin", True),
        ({"CI": "1"}, "darwin", False),
        ({"SSH_CONNECTION": "1 2 3 4"}, "darwin", False),
        ({}, "win32", True),
        ({"CI": "1"}, "win32", False),
    ],
)
def test_a_page_opens_only_on_a_local_desktop(
    desktop: Path, environ: dict[str, str], platform: str, opens: bool
) -> None:
    assert (browser_command(environ, platform) is not None) is opens


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
@pytest.mark.check
def test_the_opener_is_detached_and_gets_none_of_our_settings(desktop: Path) -> None:
    assert open_page(URL, desktop)
    ((arguments, *rest),) = started(desktop, 1)
    assert rest == [["/dev/null"] * 3, [], True]
    page = Path(str(arguments[0]))
    assert len(arguments) == 1 and page.parent == desktop and stat.S_IMODE(page.stat().st_mode) == 0o600
    assert f'content="0; url={URL}"' in page.read_text(encoding="utf-8")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
@pytest.mark.check
def test_no_path_of_a_page_is_in_a_command_line(desktop: Path) -> None:
    secret = "z" * 32
    assert open_page(f"http://127.0.0.1:1/{secret}/", desktop)
    assert secret not in str(started(desktop, 1))


@pytest.mark.parametrize(
    ("name", "value"), [("SUDO_UID", "65534"), ("PKEXEC_UID", "65534"), ("XDG_RUNTIME_DIR", "{folder}")]
)
def test_no_tab_opens_on_another_users_desktop(
    desktop: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    if value == "{folder}":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder to another user")
        os.chown(desktop / "bin", 65534, 65534)
    monkeypatch.setenv(name, value.format(folder=desktop / "bin"))
    assert not open_page(URL, desktop)
    assert not [*desktop.glob("open-*.html"), *desktop.glob("page-opened")]


@pytest.mark.check
def test_a_redirect_is_escaped_and_old_ones_are_removed(desktop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machines_mcp.server.browser.browser_command", lambda *_: ("/no/such/program",))
    assert not open_page("http://127.0.0.1:1/<b>\"'", desktop, at_once=True)
    (old,) = desktop.glob("open-*.html")
    assert "<b>" not in old.read_text(encoding="utf-8") and "&lt;b&gt;&quot;&#x27;" in old.read_text(encoding="utf-8")
    os.utime(old, (old.stat().st_mtime - MIN_INTERVAL_SECONDS - 1,) * 2)
    assert not open_page(URL, desktop, at_once=True)
    (new,) = desktop.glob("open-*.html")
    assert new != old


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
@pytest.mark.check
def test_one_tab_opens_per_five_minutes_unless_a_person_asks(desktop: Path) -> None:
    assert [open_page(URL, desktop) for _ in range(3)] == [True, False, False]
    note = desktop / "page-opened"
    assert note.stat().st_mode & 0o777 == 0o600
    before = note.stat().st_mtime
    assert open_page(URL, desktop, at_once=True)
    os.utime(note, (before - MIN_INTERVAL_SECONDS - 1,) * 2)
    assert open_page(URL, desktop)
    other = desktop / "other"
    other.mkdir()
    assert open_page(URL, other)
    assert len(started(desktop, 4)) == 4


def test_an_unwritable_folder_opens_no_tab(desktop: Path) -> None:
    assert not open_page(URL, desktop / "missing")


@pytest.mark.check
def test_an_opener_that_cannot_start_is_no_failure(desktop: Path) -> None:
    script = desktop / "bin" / "xdg-open"
    script.write_text("#!/no/such/program\n", encoding="utf-8")
    assert not open_page(URL, desktop)


def started(folder: Path, count: int) -> list[list[Any]]:
    """Return the opener's records, after it was started `count` times."""
    wait_until(lambda: len(list(folder.glob("started-*.json"))) >= count)
    files = sorted(folder.glob("started-*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]
