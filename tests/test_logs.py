"""What ends on stderr, as a process of its own: clients write it to files."""

from __future__ import annotations

import subprocess
import sys

CANARY = "canary-7f3a-9c21"

PROGRAM = f"""
import asyncio, logging, sys, threading, warnings
from machines_mcp.logs import configure

configure("INFO")
ours, theirs = logging.getLogger("machines_mcp.part"), logging.getLogger("some_library.part")
ours.debug("ours at debug")
ours.info("ours at info: %s", 7)
try:
    raise ValueError("{CANARY}")
except ValueError:
    ours.exception("ours failed")
    theirs.exception("theirs failed with {CANARY}")
theirs.info("theirs at info {CANARY}")
theirs.warning("theirs got %r", "{CANARY}")
for name in ("httpx", "httpcore", "mcp.server", "asyncio", "uvicorn.error"):
    logging.getLogger(name).error("{CANARY}")
warnings.warn("a value was {CANARY}")

def fail():
    raise LookupError("{CANARY}")

thread = threading.Thread(target=fail)
thread.start()
thread.join()

Bad = type("Bad", (), {{"__del__": lambda self: fail()}})
Bad()

async def leave():
    asyncio.get_running_loop().create_task(forget())
    await asyncio.sleep(0.01)

async def forget():
    raise OSError("{CANARY}")

asyncio.run(leave())
fail()
"""


def test_no_text_of_an_exception_and_no_word_of_a_library_is_logged() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False, encoding="utf-8"
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert CANARY not in done.stderr
    logged = done.stderr.splitlines()
    assert logged[0] == "INFO machines_mcp.part: ours at info: 7"
    assert logged[1] == "ERROR machines_mcp.part: ours failed [ValueError]"
    assert logged[2].startswith("ERROR some_library.part: ")
    assert logged[2].endswith("[ValueError]")
    assert logged[3].startswith("WARNING some_library.part: ")
    assert logged[4].startswith("WARNING py.warnings: ")
    assert [line for line in logged if "LookupError" in line] == logged[5:8]
    assert len(logged) == 8
    assert logged[7].startswith("machines-mcp ended by LookupError")


def test_the_level_is_that_of_our_own_lines() -> None:
    program = PROGRAM.replace('"INFO"', '"CRITICAL"')
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert "machines_mcp.part" not in done.stderr
    assert "some_library.part" in done.stderr
