"""What the withdrawal's page may say of a recorded transaction: only what a node has told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from machines_mcp.tools.withdrawal_page import WithdrawalPageService

pytestmark = pytest.mark.anyio


class SentWithdrawal:
    """The plans of one withdrawal that was sent and has expired."""

    def __init__(self, *, has_node: bool) -> None:
        self._has_node = has_node
        self._found = SimpleNamespace(
            started=SimpleNamespace(approval_id="a"),
            transaction=SimpleNamespace(state="sent", hash="0x" + "ab" * 32, expires_at=0.0),
            chain_id=84532,
        )

    async def find(self, user_id: str | None, withdrawal_id: str) -> Any:
        return self._found

    async def is_consumed(self, started: Any) -> bool:
        return True

    async def has_node(self, found: Any) -> bool:
        return self._has_node

    def is_alive(self, found: Any) -> bool:
        return False


@pytest.mark.parametrize("has_node", [True, False])
async def test_page_claims_nothing_about_a_chain_that_was_not_asked(has_node: bool) -> None:
    plans: Any = SentWithdrawal(has_node=has_node)
    view = await WithdrawalPageService(plans).view("wd_" + "0" * 32)
    assert view is not None
    assert (view.stage, "can't tell whether it is mined" in view.message) == ("sent", not has_node)
