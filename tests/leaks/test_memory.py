from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.leaks.campaign import simulator
from tests.leaks.canaries import Canaries
from tests.leaks.memory import Found, MemorySearch, run, search
from tests.mutants.copies import copy_package, interpreter
from tests.mutants.mutants import FOLDER, apply

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="needs Linux, and root if the server's memory is protected",
)

HOLDER = """
import sys, base64
pan, code, key = sys.argv[1][::-1], sys.argv[2][::-1], sys.argv[3][::-1]
held = {held}
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("held", "form"),
    [
        ("(pan + '.',)", "pan (ascii)"),
        ("bytearray(pan.encode())", "pan (ascii)"),
        ("pan.encode('utf-16-le')", "pan (two bytes)"),
        ("pan + chr(0x1F600)", "pan (four bytes)"),
        ("base64.b64encode(b'x' + pan.encode() + b'yz')", "pan (base64)"),
        ("key + '.'", "secret key (ascii)"),
        ("bytes.fromhex(key)", "secret key (bytes)"),
        ("''.join(list(code))", "cvc (a string or bytes)"),
        ("bytes(list(code.encode()))", "cvc (a string or bytes)"),
        ("('cvc: ' + code).encode()", "cvc (after its name)"),
    ],
)
def test_copy_in_another_process_is_found(held: str, form: str) -> None:
    canaries = Canaries(3)
    given = [value[::-1] for value in (canaries.pan, canaries.cvc, canaries.secret_key)]
    command = [sys.executable, "-c", HOLDER.replace("{held}", held), *given]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        found, size = search(holder.pid, MemorySearch(canaries))
        holder.kill()
    assert size > 1_000_000
    assert found[form] > 0, found


def _reveal(reveals: int, python: str = sys.executable) -> Found:
    with simulator() as found:
        result = asyncio.run(run(reveals, 5, found, python=python))
    print("\n".join(result.lines()))
    return result


def _assert_nothing_left(result: Found, reveals: int) -> None:
    told = "\n".join(result.lines())
    assert result.reveals == reveals
    assert sum(count for outcome, count in result.outcomes.items() if outcome.endswith(": ok")) == reveals, told
    assert result.cards_seen > 0, told
    assert result.finds_controls, told
    assert result.leaks == {}, told


@pytest.mark.check
def test_no_card_data_is_left_in_memory_after_some_reveals() -> None:
    _assert_nothing_left(_reveal(6), 6)


@pytest.mark.long
def test_no_card_data_is_left_in_memory_after_two_hundred_reveals() -> None:
    _assert_nothing_left(_reveal(200), 200)


@pytest.mark.check
def test_server_that_fetches_the_key_itself_is_detected(tmp_path: Path) -> None:
    tree = copy_package(tmp_path)
    assert apply(FOLDER / "reveal-in-the-server.patch", tree) == ""
    result = _reveal(3, interpreter(tmp_path, tree))
    assert any(name.startswith("secret key") for name in result.leaks), "\n".join(result.lines())
