"""Docs/architecture.md shows the current layers, modules and call sequence."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, generator

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "machines_mcp"
PARTICIPANT = re.compile(r"^    participant (\w+) as (\S+\.py)$", re.MULTILINE)
ARROW = re.compile(r"^    (\w+)(-?->>)(\w+): ", re.MULTILINE)
NOT_FOLDERS = {"__pycache__"}


def sequence() -> str:
    (diagram,) = re.findall(r"```mermaid\n(sequenceDiagram\n.*?)```", PAGE, re.DOTALL)
    return str(diagram)


def layer_of_folder() -> dict[str, int]:
    """Return the layer of each folder, counted from the top."""
    layers: list[list[str]] = generator("architecture_page").layer_list()
    return {name: number for number, names in enumerate(layers) for name in names}


def test_the_generated_blocks_are_current() -> None:
    assert generator("architecture_page").page() == PAGE, "run `make docs`"


def test_the_layer_diagram_matches_the_import_rules() -> None:
    layers: list[list[str]] = generator("architecture_page").layer_list()
    (picture,) = re.findall(r"```mermaid\n(flowchart TB\n.*?)```", PAGE, re.DOTALL)
    drawn = re.findall(r'subgraph layer\d+\[" "\]\n(.*?)    end\n', picture, re.DOTALL)
    assert [re.findall(r'\["([\w/]+)"\]', part) for part in drawn] == [
        [name.replace(".", "/") for name in names] for names in layers
    ]
    assert re.findall(r"layer(\d+) --> layer(\d+)", picture) == [(str(n), str(n + 1)) for n in range(len(layers) - 1)]


def test_every_folder_has_a_section_and_every_module_a_row() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - NOT_FOLDERS
    assert set(re.findall(r"<!-- modules (\w+): made", PAGE)) == folders
    assert {name for name in re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)} == folders
    assert "| |" not in PAGE.replace(" |  |", " | |"), "a module has no docstring"


def test_the_sequence_names_existing_modules() -> None:
    modules = PARTICIPANT.findall(sequence())
    assert len(modules) >= 8
    for _, path in modules:
        assert (PACKAGE / path).is_file(), path
    (note,) = re.findall(r"Note over .*", sequence())
    for path in re.findall(r"\w+/\w+\.py", note):
        assert (PACKAGE / path).is_file(), path


def test_every_arrow_of_the_sequence_connects_participants() -> None:
    known = {name for name, _ in PARTICIPANT.findall(sequence())} | {"client"}
    arrows = ARROW.findall(sequence())
    assert len(arrows) >= 12
    assert {name for first, _, second in arrows for name in (first, second)} <= known


@pytest.mark.parametrize(("call", "caller", "callee"), [(">>", 0, 2), ("->>", 2, 0)])
def test_calls_go_down_the_layers_and_responses_up(call: str, caller: int, callee: int) -> None:
    folder = {name: path.partition("/")[0] for name, path in PARTICIPANT.findall(sequence())}
    level = layer_of_folder()
    for arrow in ARROW.findall(sequence()):
        if arrow[1] == f"-{call}" and "client" not in arrow:
            above, below = folder[arrow[caller]], folder[arrow[callee]]
            # The protocol gets a tool's functions as callbacks, so it may call one layer up.
            if above != "protocol" or below != "tools":
                assert level[above] <= level[below], arrow


def test_agents_md_lists_the_layers_within_sixty_lines() -> None:
    text = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    listed = [line.split(" | ") for line in re.findall(r"^    ([\w |]+)$", text, re.MULTILINE)]
    assert listed == generator("architecture_page").layer_list()
