"""A person at a client's dialogs, who gives the same answer to each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import mcp_types as types
from mcp.client import ClientRequestContext

Action = Literal["accept", "decline", "cancel"]


async def _nothing() -> None:
    pass


@dataclass
class FakeApprover:
    """Answers every dialog and every offered page with `answer`, after `during`, and records both.

    `answer` is an action, or a whole result or error for what no dialog would send.
    """

    answer: Action | types.ElicitResult | types.ErrorData = "accept"
    during: Callable[[], Awaitable[None]] = _nothing
    asked: list[str] = field(default_factory=list)
    """The messages of dialogs and offered pages, so that an empty list means neither."""
    offered: list[types.ElicitRequestURLParams] = field(default_factory=list)

    async def __call__(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        self.asked.append(params.message)
        if isinstance(params, types.ElicitRequestURLParams):
            self.offered.append(params)
        await self.during()
        if not isinstance(self.answer, str):
            return self.answer
        with_content = self.answer == "accept" and not isinstance(params, types.ElicitRequestURLParams)
        return types.ElicitResult(action=self.answer, content={"decision": "approve"} if with_content else None)
