"""A parser for the Dockerfile features that ours uses: instructions by stage, and the build context."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword in capitals, its `--options`, and the rest as words or, for RUN, as one line."""

    word: str
    rest: str
    options: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """Return the arguments. In exec form, they are the list's items."""
        return list(json.loads(self.rest)) if self.rest.startswith("[") else shlex.split(self.rest)


def stages(text: str) -> list[list[Instruction]]:
    """Return the instructions of each stage, FROM first. The last stage is the image."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found: list[list[Instruction]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        if word == "FROM":
            found.append([])
        options = []
        while word != "RUN" and rest.startswith("--"):
            option, _, rest = rest.partition(" ")
            options.append(option)
        found[-1].append(Instruction(word, rest.strip(), tuple(options)))
    return found


def in_context(ignore: str, path: str) -> bool:
    """Whether a .dockerignore includes a path in the context. The last matching pattern decides."""
    let = True
    for line in ignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keeps, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        parents = ["/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
        if any(fnmatch(part, pattern) or fnmatch(part, pattern.removeprefix("**/")) for part in parents):
            let = keeps
    return let
