"""The comparison with other servers: the measured servers, the ratios, the chart and the kept figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import bars, peers
from benchmarks.comparison import QUANTITIES, as_table, compared
from benchmarks.measure import Figures, Load, Samples
from benchmarks.peer import PEERS, Peer, installed
from benchmarks.record import kept
from benchmarks.wire import STATUS, BenchmarkError, Command


def _figures(name: str, *, rounds: list[float], call: bool = True, memory: float | None = 50.0) -> Figures:
    samples = Samples([[value, value] for value in rounds])
    command = Command(name, (), call=STATUS if call else None)
    figures = Figures(command, start=samples, lists=samples, tools=2, listed=400, memory=memory)
    if call:
        figures.calls = figures.bursts = samples
    return figures


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ours, theirs = _figures("ours", rounds=[1.0, 10.0, 4.0]), _figures("theirs", rounds=[3.0, 20.0, 4.0])

    start = compared(ours, [theirs])["theirs"]["start"]

    assert (start["value"], start["ratio"], start["low"], start["high"]) == (4.0, 2.0, 1.0, 3.0)


def test_our_ratio_is_omitted_and_tokens_are_a_quarter_of_the_bytes() -> None:
    shown = compared(_figures("ours", rounds=[1.0]), [])["ours"]
    assert "ratio" not in shown["start"]
    assert shown["tokens"]["value"] == 100


def test_missing_figures_are_left_blank() -> None:
    servers = compared(_figures("ours", rounds=[1.0]), [_figures("theirs", rounds=[2.0], call=False, memory=None)])
    assert servers["theirs"].keys() == {"tools", "start", "lists", "tokens"}
    theirs = as_table(servers).splitlines()[-1].split(" | ")
    assert len(theirs) == 2 + len(QUANTITIES)
    assert theirs.count("—") == 4


def test_chart_bars_are_proportional_and_ours_is_highlighted() -> None:
    figures = {"runs": 3, "servers": compared(_figures("ours", rounds=[5.0]), [_figures("a/b", rounds=[10.0])])}
    drawn = ElementTree.fromstring(peers.picture(figures))  # noqa: S314 - drawn a line above
    space = "{http://www.w3.org/2000/svg}"
    wide = [float(bar.get("width", "")) for bar in drawn.iter(f"{space}rect")][1:]
    assert len(wide) == 2 * len(QUANTITIES)
    assert wide[0] == pytest.approx(wide[1] / 2, abs=0.1)
    assert [bar.get("fill") == bars.OTHERS for bar in drawn.iter(f"{space}rect")][1:3] == [False, True]
    assert "b" in [text.text for text in drawn.iter(f"{space}text")]


def test_every_peer_has_an_exact_version_and_only_made_up_keys() -> None:
    for peer in PEERS:
        assert peer.version.replace(".", "").isdigit()
        assert all("nobody" in value or "127.0.0.1" in value for value in peer.settings.values())


def test_unavailable_peer_is_reported_and_leaves_no_partial_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    peer = Peer("@a/b", "1.0", "node", "b.js")
    with pytest.raises(BenchmarkError, match="@a/b is skipped: npm is not installed"):
        installed(peer, tmp_path / "peers", tmp_path)
    assert not (tmp_path / "peers" / "b-1.0" / ".made").exists()


def test_installed_peer_is_reused_with_its_own_repository(tmp_path: Path) -> None:
    (git,) = (peer for peer in PEERS if peer.name == "mcp-server-git")
    place = tmp_path / "peers" / f"mcp-server-git-{git.version}"
    place.mkdir(parents=True)
    (place / ".made").touch()

    command = installed(git, tmp_path / "peers", tmp_path)

    assert Path(command.arguments[0]).parent.parent == place
    assert command.call
    assert (Path(command.call["arguments"]["repo_path"]) / ".git").is_dir()


@pytest.mark.check
def test_recorded_run_is_kept_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "LOAD", Load(lists=2, calls=2, burst=4, in_flight=2, pings=4))
    monkeypatch.setattr(peers, "RUNS", tmp_path / "runs.json")
    monkeypatch.setattr(peers, "PICTURE", tmp_path / "picture.png")
    monkeypatch.setattr(peers, "PEERS", ())

    assert peers.main(["--runs", "1", "--record", "--folder", str(tmp_path)]) == 0

    run = kept(tmp_path / "runs.json")["peers"]
    assert run["command"] == "python -m benchmarks.peers --runs 1"
    assert list(run["figures"]["servers"]) == [peers.OURS, peers.BARE]
    assert set(run["figures"]["servers"][peers.BARE]) >= {
        quantity.key for quantity in QUANTITIES if quantity.key != "memory"
    }
    json.dumps(run)
    assert list(tmp_path.glob("picture.*"))


def test_server_stderr_goes_to_its_log(tmp_path: Path) -> None:
    from benchmarks.wire import Wire

    log = tmp_path / "log"
    with Wire(
        Command("a server", (sys.executable, "-c", "import sys; print('said', file=sys.stderr)"), log=log), "2025-11-25"
    ):
        pass
    assert log.read_text(encoding="utf-8").split() == ["said"]


@pytest.mark.parametrize(
    ("calls", "bursts", "title"),
    [
        (2.5, 0.25, "With all its checks: 2.5 times as fast as a bare SDK server, at 4.0 times the load"),
        (0.5, 0.5, "With all its checks, a call takes 2.0 times as long as on a bare SDK server"),
        (None, None, "machines-mcp compared with other MCP servers"),
    ],
)
def test_the_pictures_title_says_what_it_shows(calls: float | None, bursts: float | None, title: str) -> None:
    bare = {} if calls is None else {"calls": {"value": 1.0, "ratio": calls}, "bursts": {"value": 1.0, "ratio": bursts}}
    drawn = peers.picture({"runs": 3, "servers": {"machines-mcp": {}, "bare MCPServer, one tool": bare}})
    assert f">{title}</text>" in drawn
