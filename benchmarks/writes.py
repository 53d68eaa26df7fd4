"""Measure a call that changes something, with its row of the audit log, beside one `fsync` in the same folder."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from benchmarks.measure import Samples, timed, turns
from benchmarks.rows import CHANGE, changing_server
from benchmarks.wire import Era, Wire

WRITES_A_ROUND = 100
# A page of the write-ahead log with its header: the least that a transaction adds.
_BYTES = b"\0" * (4096 + 24)


def measure_writes(scratch: Path, era: Era, runs: int) -> tuple[Samples, Samples]:
    """Return the times of the call and of appending one page to a file with `fsync`, taken in turns."""
    server = changing_server(scratch / "writes", rows=0)
    call, raw = Samples(), Samples()
    with Wire(server, era) as wire, (scratch / "writes" / "page").open("ab", buffering=0) as file:
        wire.greet()
        for counted, samples in turns([call, raw], runs):
            ask, append = partial(wire.ask, "tools/call", CHANGE), partial(_append, file.fileno())
            taken = timed(ask if samples is call else append, WRITES_A_ROUND)
            if counted:
                samples.rounds.append(taken)
    return call, raw


def _append(descriptor: int) -> None:
    os.write(descriptor, _BYTES)
    os.fsync(descriptor)
