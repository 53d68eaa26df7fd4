"""At most two vaults run at once, however many reveals a model asks for. No vault is started here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.permissions.policy import default_policy
from machines_mcp.server import card_reveals
from machines_mcp.vault import client
from machines_mcp.vault.reply import VaultReply
from machines_mcp.vault.request import VaultRequest
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio


class CountedVaults:
    """Replies without a process, once the test opens the gate."""

    def __init__(self) -> None:
        self.running = self.most = self.total = 0
        self.gate = anyio.Event()

    async def reveal(self, request: VaultRequest) -> VaultReply:
        self.running += 1
        self.total += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            # Give others every opportunity to start.
            await anyio.wait_all_tasks_blocked()
        finally:
            self.running -= 1
        facts: dict[str, Any] = {"brand": "VISA", "expiration_month": 12, "expiration_year": 2031}
        return VaultReply(status="verified", code="verified", sink="none", last4=request.last4, **facts)


@contextmanager
def vaults() -> Iterator[CountedVaults]:
    counted = CountedVaults()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "reveal", counted.reveal)
        yield counted


async def new_card(c: ToolCaller) -> str:
    await c.approved()
    return str((await c.call("create_card"))["card_id"])


@pytest.mark.parametrize("servers", [1, 2])
async def test_thirty_reveals_use_two_vaults_at_a_time(tmp_path: Path, servers: int) -> None:
    answers: list[dict[str, Any]] = []
    async with caller(tmp_path) as c:
        card = await new_card(c)

        async def ask(server: ToolCaller) -> None:
            answers.append(await server.call("reveal_card", card_id=card))

        async with caller(tmp_path, sandbox=c.sandbox, read_only=True) as other:
            with vaults() as counted:
                async with anyio.create_task_group() as tasks:
                    for number in range(30):
                        tasks.start_soon(ask, (c, other)[number % servers])
                    counted.gate.set()
        assert [answer["status"] for answer in answers] == ["verified"] * 30
        assert (counted.most, counted.total) == (2, 30)


async def test_a_reveal_that_waits_too_long_is_told_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_reveals, "WAIT_SECONDS", 0.1)
    async with caller(tmp_path) as c:
        card = await new_card(c)
        with vaults() as counted:
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(lambda: c.call("reveal_card", card_id=card))
                await anyio.wait_all_tasks_blocked()
                busy = await c.call("reveal_card", card_id=card)
                counted.gate.set()
        assert (busy["code"], busy["retryable"], busy["retry_after_seconds"]) == ("rate.limited", True, 15)
        assert busy["next_steps"][0]["tool"] == "reveal_card"
        assert counted.total == 2
        assert (await c.call("status"))["unresolved"] == []


async def test_reveals_that_show_nothing_have_a_rate_per_card(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'version = 1\nenvironment = "embedded"\n[cards]\nunbounded = true\n[rates]\nreveals_per_card_per_day = 2\n'
    )
    policy.chmod(0o600)
    async with caller(tmp_path / "state", policy=policy) as c:
        cards = [await new_card(c), (await c.call("create_card"))["card_id"]]
        async with caller(tmp_path / "state", policy=policy, sandbox=c.sandbox, read_only=True) as other:
            with vaults() as counted:
                counted.gate.set()
                for server in (c, other):
                    assert (await server.call("reveal_card", card_id=cards[0]))["status"] == "verified"
                for server in (c, other):
                    over = await server.call("reveal_card", card_id=cards[0])
                    assert (over["code"], over["limit"]) == ("policy.denied", "rates.reveals_per_card_per_day")
                assert (await c.call("reveal_card", card_id=cards[1]))["status"] == "verified"
                assert counted.total == 3


async def test_production_without_a_policy_bounds_reveals_that_show_nothing() -> None:
    for read_only in (False, True):
        assert default_policy("production", read_only=read_only).limits.reveals_per_card_per_day == 3
