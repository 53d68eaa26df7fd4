"""Measure what a read costs as the database grows: `python -m benchmarks.size [--runs N]`.

First, the reading user has ten rows and the others belong to other users. Then all rows are the reading user's, at
least a page, so that a response has as many rows at each size. The sizes take turns in each round.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.fill import fill
from benchmarks.measure import Samples, timed, turns
from benchmarks.report import where
from benchmarks.upstream import USER, Sandbox
from benchmarks.wire import ERAS, Command, Wire

ROOT = Path(__file__).parents[1]
# (own rows, rows of others): that many cards, deposits and spends each.
OTHERS = ((10, 0), (10, 990), (10, 99_990))
OWN = ((1_000, 0), (100_000, 0))
READS_A_ROUND = 20
AIM = 1.2
# Not the median, because other load on the machine can only slow a read.
SHARE = 0.1
REQUESTS = ("/cards?limit=10", "/deposits", "/deposits?scope=all", "/transactions?limit=10", "/balances")
TOOLS = ("list_cards", "list_transactions", "get_balances")
SCOPES = ["cards.read", "transactions.read", "deposits.read", "balances.read"]
DAY = 86_400


@dataclass
class Filled:
    """A sandbox of one size, the reads to measure on it, and their times in ms."""

    rows: int
    reads: dict[str, Callable[[], object]]
    samples: dict[str, Samples] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size", description="Measure read cost by size.")
    parser.add_argument("--runs", type=int, default=5, help="rounds of each measurement (5)")
    runs = parser.parse_args().runs
    print(f"{where()}; {runs} rounds; aim: at most {AIM} times the smallest", flush=True)
    for title, sizes in (("rows of other users", OTHERS), ("rows of the reading user", OWN)):
        print(f"\n{title}\n{table(measure(sizes, runs))}", flush=True)
    return 0


def measure(sizes: Sequence[tuple[int, int]], runs: int) -> list[Filled]:
    """Measure every quantity at each size, in `runs` rounds after a warm-up."""
    with tempfile.TemporaryDirectory(prefix="machines-benchmarks-") as scratch, ExitStack() as stack:
        filled = [stack.enter_context(sandbox_of(Path(scratch), own, others)) for own, others in sizes]
        for name in filled[0].reads:
            for counted, one in turns(filled, runs):
                taken = timed(one.reads[name], READS_A_ROUND)
                if counted:
                    one.samples.setdefault(name, Samples()).rounds.append(taken)
    return filled


@contextmanager
def sandbox_of(scratch: Path, own: int, others: int) -> Iterator[Filled]:
    """Yield a sandbox with that many rows, ready for API requests and tool calls."""
    home = scratch / f"{own}-{others}"
    home.mkdir()
    file = home / "sandbox.db"
    with Sandbox("--db", str(file)) as sandbox, httpx.Client(trust_env=False, timeout=60) as client:
        token = prepare(client, sandbox)
        fill(file, USER, own=own, others=others)
        environment = {
            "PATH": os.defpath,
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "MACHINES_STATE_DIR": str(home / "state"),
            "MACHINES_ENV": "sandbox",
            "MACHINES_API_URL": sandbox.base_url,
            "MACHINES_PARTNER_KEY": sandbox.partner_key,
            "MACHINES_USER_ID": USER,
        }
        with Wire(Command("ours", (sys.executable, "-m", "machines_mcp"), environment), ERAS[0]) as wire:
            wire.greet()
            yield Filled(own + others, reads(client, sandbox, token, wire))


def prepare(client: httpx.Client, sandbox: Sandbox) -> str:
    """Create the user, a card, a deposit and a spend. Return a session token."""

    def ask(url: str, body: object, headers: dict[str, str]) -> dict[str, str]:
        reply = client.post(url, json=body, headers=headers)
        reply.raise_for_status()
        data: dict[str, str] = reply.json()["data"]
        return data

    api, control, partner = sandbox.base_url, sandbox.control_url, {"X-Partner-Key": sandbox.partner_key}
    ask(f"{api}/users/resolve", {"userId": USER}, partner)
    ask(f"{control}/kyc", {"userId": USER, "decision": "approved"}, {})
    session = {"userId": USER, "scopes": [*SCOPES, "cards.write"], "ttlSeconds": DAY}
    token = ask(f"{api}/sessions", session, partner)["sessionToken"]
    bearer = {"Authorization": f"Bearer {token}"}
    ask(f"{api}/agreements", {"accepted": True}, bearer)
    ask(f"{api}/deposits", {"currency": "rusd", "network": "base", "amount": 100}, bearer)
    card = ask(f"{api}/cards", {}, bearer)
    ask(f"{control}/spend", {"cardId": card["cardId"], "amountCents": 1}, {})
    return token


def reads(client: httpx.Client, sandbox: Sandbox, token: str, wire: Wire) -> dict[str, Callable[[], object]]:
    """Return the reads to measure, by name."""
    bearer = {"Authorization": f"Bearer {token}"}

    def get(path: str) -> Callable[[], object]:
        return lambda: client.get(sandbox.base_url + path, headers=bearer).raise_for_status()

    def call(tool: str) -> Callable[[], object]:
        return lambda: wire.ask("tools/call", {"name": tool, "arguments": {}})

    return {f"GET {path}": get(path) for path in REQUESTS} | {f"tool {tool}": call(tool) for tool in TOOLS}


def table(filled: Sequence[Filled]) -> str:
    """Format a line per quantity: the 10th percentile at the smallest size, and each larger size's ratio to it."""
    smallest, *larger = filled
    head = f"{'10th percentile':<28} {smallest.rows:>9,} ms" + "".join(f"{one.rows:>12,}" for one in larger)
    lines = [head]
    for name, samples in smallest.samples.items():
        base = samples.quantile(SHARE)
        ratios = [one.samples[name].quantile(SHARE) / base for one in larger]
        verdict = "" if max(ratios) <= AIM else "  not flat"
        lines.append(f"{name:<28} {base:>12.2f}" + "".join(f"{ratio:>12.2f}" for ratio in ratios) + verdict)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
