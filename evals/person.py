"""The person at the client's dialogs or at a terminal, who approves what they asked for and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import mcp_types as types
from mcp.client import ClientRequestContext


class Person:
    """Reads each dialog and approves it if all words of one wish that is still open begin a line of it.

    While `trusting`, approves everything: the start of a task.
    """

    def __init__(self, wishes: Sequence[Sequence[str]]) -> None:
        self.trusting = True
        self.asked: list[str] = []
        self._open = list(wishes)

    def begin(self) -> None:
        """Read from now on, and forget the questions of the start."""
        self.trusting = False
        self.asked.clear()

    async def __call__(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        page = isinstance(params, types.ElicitRequestURLParams)
        if self.approves(params.message, here=not page):
            return types.ElicitResult(action="accept", content={"decision": "approve"})
        return types.ElicitResult(action="decline")

    def approves(self, question: str, *, here: bool = True) -> bool:
        """Return the answer to a question. One that is not asked `here` but on a page is refused."""
        self.asked.append(question)
        return here and (self.trusting or self._wishes(question))

    def _wishes(self, question: str) -> bool:
        lines = question.splitlines()
        wish = next((wish for wish in self._open if all(_begins(words, lines) for words in wish)), None)
        if wish is not None:
            self._open.remove(wish)
        return wish is not None


def _begins(words: str, lines: Sequence[str]) -> bool:
    return any(line.startswith(words) for line in lines)
