"""Measure what the output filter costs per line: `python -m benchmarks.output_filter`, in this process."""

from __future__ import annotations

import argparse
import gc
import json
import secrets
import sys
import time
import uuid
from collections.abc import Sequence

from benchmarks.report import where
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret

SIZES = (1, 4, 16, 64)
KNOWN = (3, 30, 300)
# Target milliseconds at the 99th percentile, by line size in kB.
AIMS = {4: 2.0, 16: 8.0}


def line(kilobytes: int, *, masked: bool) -> tuple[str, str]:
    """Return an outgoing page of transactions of about this length, with a card number in each name or none.

    The second is the line without the copy of the page that the filter need not read (`protocol/written.py`).
    """
    page: list[dict[str, object]] = []
    text = ""
    while len(text) < kilobytes * 1024:
        page.append(_transaction(masked))
        body = {"transactions": page, "environment": "embedded", "simulated": True, "next_steps": []}
        text = _written([{"type": "text", "text": _compact(body)}], body)
    return text, _written([], body)


def _written(content: list[dict[str, str]], body: dict[str, object]) -> str:
    result = {"content": content, "structuredContent": body}
    return _compact({"jsonrpc": "2.0", "id": 7, "result": result}) + "\n"


def _transaction(masked: bool) -> dict[str, object]:
    name = f"Shop {_number()}" if masked else "Café at the corner"
    return {
        "transaction_id": str(uuid.uuid4()),
        "type": "spend",
        "status": "posted",
        "amount_cents": secrets.randbelow(100_000),
        "currency": "USD",
        "created_at": "2031-01-02T03:04:05.678901Z",
        "merchant_name": name,
        "card_id": str(uuid.uuid4()),
    }


def _number() -> str:
    body = "400000" + "".join(str(secrets.randbelow(10)) for _ in range(9))
    total = sum(int(d) * 2 - 9 * (int(d) > 4) if n % 2 == 0 else int(d) for n, d in enumerate(body))
    return body + str(-total % 10)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def quantiles(text: str, read_once: str, known: int, runs: int) -> tuple[float, float, float]:
    """Return milliseconds: to add one secret, and the median and 99th percentile of filtering the line."""
    output_filter = OutputFilter()
    start = time.perf_counter()
    for _ in range(known):
        output_filter.add_secret(Secret("mst_" + secrets.token_urlsafe(32)), time.time() + 900)
    learned = (time.perf_counter() - start) * 1000 / known
    taken = []
    for _ in range(runs):
        # Thread time, which excludes other processes.
        start = time.thread_time()
        output_filter.filtered(text, read_once=read_once)
        taken.append((time.thread_time() - start) * 1000)
    taken.sort()
    return learned, taken[runs // 2], taken[runs * 99 // 100]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.output_filter", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="runs per line (1000)")
    runs = parser.parse_args(arguments).runs
    print(f"{where()}; {runs} runs per line\n")
    print("| line, kB | secrets known | lines | median, ms | 99th percentile, ms | aim, ms | adding one, ms |")
    print("| ---: | ---: | --- | ---: | ---: | --- | ---: |")
    gc.freeze()
    for size in SIZES:
        for known in KNOWN:
            for masked in (False, True):
                learned, median, high = quantiles(*line(size, masked=masked), known, runs)
                kind = "with card numbers" if masked else "without card numbers"
                aim = f"at most {AIMS[size]:.0f}: {'met' if high <= AIMS[size] else 'missed'}" if size in AIMS else ""
                print(f"| {size} | {known} | {kind} | {median:.2f} | {high:.2f} | {aim} | {learned:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
