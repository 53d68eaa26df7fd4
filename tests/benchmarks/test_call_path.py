from __future__ import annotations

import asyncio
import importlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import call_path
from benchmarks.call_path import Tracer, path, table

_MODULES = {
    "traced_top": """
import asyncio
import traced_low

async def serve():
    traced_low.helper()
    [value for value in range(3)]
    await asyncio.sleep(0)
    await traced_low.waits()
    own()

def own():
    pass
""",
    "traced_low": """
import asyncio
from concurrent.futures import ThreadPoolExecutor

def helper():
    return inner()

def inner():
    return 1

async def waits():
    await asyncio.sleep(0)
    with ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, helper)
""",
}


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name, source in _MODULES.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("traced_top")
    for name in _MODULES:
        sys.modules.pop(name, None)


def test_resumed_function_counts_once_and_comprehension_not_at_all(tmp_path: Path, top: ModuleType) -> None:
    tracer = Tracer(tmp_path)
    with tracer.installed(), tracer.recording() as steps:
        asyncio.run(top.serve())
    mine = threading.get_ident()
    assert path(steps, mine) == ["traced_top.py", "traced_low.py", "traced_top.py"]
    assert [module for thread, module in steps if thread == mine].count("traced_low.py") == 3
    # `helper` and `inner` also ran on another thread.
    assert len([module for thread, module in steps if thread != mine]) == 2


def test_nothing_is_recorded_outside_the_block(tmp_path: Path, top: ModuleType) -> None:
    tracer = Tracer(tmp_path)
    with tracer.installed():
        top.own()
        with tracer.recording() as steps:
            pass
        top.own()
    assert steps == []


def test_table_names_each_call_and_its_share() -> None:
    figures = {name: {"get_balances": {"switches": n}} for name, n in (("before", 50), ("after", 30), ("now", 40))}
    assert table(figures).splitlines()[-1] == "| `get_balances` | 50 | 30 | 60% | 40 |"


def test_straightened_calls_took_at_most_sixty_percent_of_the_switches_before() -> None:
    recorded = json.loads(call_path.FIGURES.read_text(encoding="utf-8"))
    for tool, before in recorded["before"].items():
        assert recorded["after"][tool]["switches"] <= call_path.SHARE * before["switches"]


@pytest.mark.check
def test_each_call_is_traced_and_takes_no_more_switches_than_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert call_path.main(["--path"]) == 0
    *paths, figures = capsys.readouterr().out.split("\n\n")
    assert [line.split(":")[0] for line in paths] == ["create_card", "create_withdrawal", "get_balances"]
    assert all("protocol/handlers.py" in line and "partner/transport.py" in line for line in paths)
    measured, recorded = json.loads(figures), json.loads(call_path.FIGURES.read_text(encoding="utf-8"))["now"]
    assert [tool for tool in measured if measured[tool]["switches"] > recorded[tool]["switches"]] == []
