from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE
from tests.vault.children import dies_with, program

CONFINED = "import os, sys, time\nfrom machines_mcp.vault import hardening\n"
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="no such limit on Windows")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

STRAY_OUTPUT = """
reply = hardening.claim_output()
print("stray print", flush=True)
print("stray error", file=sys.stderr, flush=True)
os.write(1, b"stray 1")
os.write(2, b"stray 2")
import faulthandler, logging, threading, warnings
logging.error("stray log")
warnings.warn("stray warning")
faulthandler.dump_traceback(2)
thread = threading.Thread(target=lambda: {}["stray key"])
thread.start()
thread.join()
os.write(reply, b"the reply")
raise RuntimeError("stray traceback")
"""


def _run(source: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(program(CONFINED + source), capture_output=True, timeout=PATIENCE, check=False, **options)  # type: ignore[call-overload]


def test_only_the_reply_reaches_an_output() -> None:
    done = _run(STRAY_OUTPUT)
    assert (done.stdout, done.stderr) == (b"the reply", b"")
    assert done.returncode == 1


def test_stray_output_appears_without_confinement() -> None:
    done = _run(STRAY_OUTPUT.replace("hardening.claim_output()", "1"))
    assert all(b"stray " + kind in done.stdout + done.stderr for kind in (b"print", b"error", b"1", b"2", b"traceback"))


@posix_only
def test_the_reply_keeps_its_descriptor_when_stderr_is_closed() -> None:
    shell = ("/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *program(CONFINED + STRAY_OUTPUT))
    done = subprocess.run(shell, stdout=subprocess.PIPE, timeout=PATIENCE, check=False)
    assert done.stdout == b"the reply"


@posix_only
def test_an_abort_writes_no_core_file(tmp_path: Path) -> None:
    limits = "import resource; hardening.forbid_dumps(); print(resource.getrlimit(resource.RLIMIT_CORE), flush=True); "
    done = _run(limits + "os.abort()", cwd=tmp_path)
    assert done.stdout == b"(0, 0)\n"
    assert done.returncode == -6
    assert not list(tmp_path.iterdir())


@linux_only
@pytest.mark.parametrize(("confine", "dumpable"), [("hardening.forbid_dumps()", 0), ("", 1)], ids=["confined", "not"])
def test_processes_of_the_same_user_cannot_inspect_the_process(confine: str, dumpable: int) -> None:
    done = _run(
        confine + "\nimport ctypes; PR_GET_DUMPABLE = 3; print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))"
    )
    assert done.stdout == b"%d\n" % dumpable


@pytest.mark.parametrize("busy", ["time.sleep(600)", "while True: pass", "os.read(0, 1)"])
def test_the_process_exits_at_its_deadline(busy: str) -> None:
    child = subprocess.Popen(program(CONFINED + f"hardening.end_within(0.1)\n{busy}"), stdin=subprocess.PIPE)
    with child:
        try:
            assert child.wait(PATIENCE) == 1
        finally:
            child.kill()


@pytest.mark.parametrize("last_words", [b"", b"more"], ids=["end of file", "a byte more"])
def test_the_process_exits_with_its_parent_or_on_further_input(last_words: bytes) -> None:
    source = CONFINED + "hardening.end_with_parent(); os.write(1, b'up'); time.sleep(600)"
    child = subprocess.Popen(program(source), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        try:
            assert child.stdout is not None
            assert child.stdin is not None
            assert child.stdout.read(2) == b"up"
            if last_words:
                child.stdin.write(last_words)
                child.stdin.flush()
            else:
                child.stdin.close()
            assert child.wait(PATIENCE) == 1
        finally:
            child.kill()


@posix_only
def test_the_deadline_holds_while_one_thread_blocks_the_interpreter() -> None:
    # The regular expression engine holds the interpreter lock while it matches.
    stuck = "import re; re.match('(a*)*b', 'a' * 64)"
    child = subprocess.Popen(program(CONFINED + f"hardening.end_within(0.1)\n{stuck}"))
    with child:
        try:
            assert child.wait(PATIENCE) == -signal.SIGALRM
        finally:
            child.kill()


@linux_only
def test_a_stopped_process_dies_with_its_parent() -> None:
    child = program(CONFINED + "hardening.die_with_parent(); os.kill(os.getpid(), 19)")
    parent = program(
        f"import os, subprocess, sys; child = subprocess.Popen({child!r}); "
        "os.waitpid(child.pid, os.WUNTRACED); os.write(1, b'%d' % child.pid); sys.stdin.read()"
    )
    with subprocess.Popen(parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert dies_with(server, int(os.read(server.stdout.fileno(), 20)))


@linux_only
@pytest.mark.parametrize(("confine", "bound"), [("hardening.forbid_dumps()", 1), ("", 0)], ids=["confined", "not"])
def test_programs_started_by_the_process_gain_no_privileges(confine: str, bound: int) -> None:
    asked = "import ctypes; PR_GET_NO_NEW_PRIVS = 39; print(ctypes.CDLL(None).prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))"
    assert _run(f"{confine}\n{asked}").stdout == b"%d\n" % bound
