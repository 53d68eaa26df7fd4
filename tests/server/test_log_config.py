"""Logging to stderr in a separate process. Clients write stderr to files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.waiting import PATIENCE

CANARY = "canary-7f3a-9c21"

PROGRAM = f"""
import asyncio, logging, sys, threading, warnings
from machines_mcp.server.log_config import configure

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
    await asyncio.wait([asyncio.get_running_loop().create_task(forget())])

async def forget():
    raise OSError("{CANARY}")

asyncio.run(leave())
fail()
"""


def test_exception_texts_and_library_messages_are_not_logged() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE, check=False, encoding="utf-8"
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
    assert logged[7].startswith("machines-mcp stopped with LookupError")


def test_the_log_level_applies_to_our_own_loggers() -> None:
    program = PROGRAM.replace('"INFO"', '"CRITICAL"')
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "machines_mcp.part" not in done.stderr
    assert "some_library.part" in done.stderr


def _run(program: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        encoding="utf-8",
        env=os.environ | environment,
    )


def test_a_record_that_cannot_be_formatted_is_logged_without_arguments() -> None:
    program = f"""
import logging
from machines_mcp.server.log_config import configure

configure("DEBUG")
logging.getLogger("machines_mcp.part").warning("%d of them", "{CANARY}")
logging.getLogger("some_library").warning("%d of them", "{CANARY}")
"""
    done = _run(program)
    assert done.returncode == 0
    assert CANARY not in done.stderr
    assert "some_library" in done.stderr


def test_a_library_at_debug_level_logs_only_its_code_location() -> None:
    # A library's own settings, or a person who debugs, may raise its level afterwards.
    program = f"""
import asyncio, logging, httpx
from machines_mcp.server.log_config import configure

configure("DEBUG")
for name in ("", *logging.root.manager.loggerDict):
    logging.getLogger(name).setLevel(logging.DEBUG)

async def main():
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.call_exception_handler({{"message": "{CANARY}", "exception": ValueError("{CANARY}")}})
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            await client.get("http://127.0.0.1:9/{CANARY}", params={{"q": "{CANARY}"}}, headers={{"x": "{CANARY}"}})
        except httpx.HTTPError as error:
            logging.getLogger("httpx").exception("%s", error)
    logging.getLogger("hpack.hpack").debug("Adding %r", ("X-Partner-Key", "{CANARY}"))

asyncio.run(main())
"""
    done = _run(program)
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stderr
    for name in ("asyncio", "httpx", "httpcore.connection", "hpack.hpack"):
        assert f" {name}: (" in done.stderr


@pytest.mark.parametrize("options", [["-X", "faulthandler"], ["-X", "dev"]])
def test_faulthandler_is_off_even_if_enabled_by_options(options: list[str]) -> None:
    program = """
import faulthandler
from machines_mcp.server.log_config import configure

assert faulthandler.is_enabled()
configure("DEBUG")
assert not faulthandler.is_enabled()
"""
    done = _run(program, *options)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_root_handler_is_the_only_one() -> None:
    program = """
import logging
import machines_mcp.server.app, machines_mcp.partner, httpx, starlette.applications, uvicorn, mcp, jinja2, rich, joserfc
import machines_mcp.tools.catalog, machines_mcp.protocol.stdio
from machines_mcp.server.log_config import configure

configure("DEBUG")
for name in logging.root.manager.loggerDict:
    others = [h for h in logging.getLogger(name).handlers if not isinstance(h, logging.NullHandler)]
    assert not others, (name, others)
assert len(logging.root.handlers) == 1
"""
    done = _run(program)
    assert (done.returncode, done.stderr) == (0, "")
