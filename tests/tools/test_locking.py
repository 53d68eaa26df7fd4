"""Locking a lost card works after refusals, harmless writes and a wrong clock. It has a rate of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.cli.approvals import waiting_approvals
from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.testing import Era, decide
from tests.support.stdio_client import ERAS
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_second_ones import age

pytestmark = pytest.mark.anyio

ASKING = '[classes]\nwrite = "ask"\n'


def policy(folder: Path, rates: str = "", classes: str = "") -> Path:
    path = folder / "policy.toml"
    rates = f"[rates]\n{rates}" if rates else ""
    path.write_text(f'version = 1\nenvironment = "embedded"\n{classes}[cards]\nunbounded = true\n{rates}')
    path.chmod(0o600)
    return path


async def new_card(c: ToolCaller) -> dict[str, Any]:
    await c.approved()
    return {"card_id": (await c.call("create_card"))["card_id"]}


async def refused_unlocks(c: ToolCaller, card: dict[str, Any]) -> None:
    """Have a person refuse three unlocks, so that the tool's cooldown begins."""
    for limit in (100, 200, 300):
        unlock = {**card, "status": "active", "limit_amount_cents": limit, "limit_frequency": "allTime"}
        asked = await c.call("update_card", **unlock)
        assert await decide({"MACHINES_STATE_DIR": str(c.state_dir)}, asked["approval_id"], yes=False) == "refused"
    assert (await c.call("update_card", **unlock))["code"] == "policy.denied"


async def write_ahead(c: ToolCaller) -> None:
    """Write a row with a clock that is a year ahead."""
    store = Store(read_settings({"MACHINES_STATE_DIR": str(c.state_dir)}).state_dir)
    policy = default_policy("embedded", read_only=False)
    guard = build_guard(store, policy, ANY_USER, clock=lambda: time.time() + 365 * 86_400)
    await guard.audit.append(AuditEntry("call", tool="get_card"))
    await store.close()


@pytest.mark.parametrize("era", ERAS)
async def test_a_card_is_locked_after_many_harmless_writes(tmp_path: Path, era: Era) -> None:
    async with caller(tmp_path / "state", mode=era, policy=policy(tmp_path, "mutations_per_hour = 20")) as c:
        card = await new_card(c)
        while (written := await c.call("update_card", **card, label="Food")).get("code") is None:
            pass
        assert written["limit"] == "rates.mutations_per_hour"
        assert (await c.call("update_card", **card, status="locked"))["status"] == "locked"


@pytest.mark.parametrize("era", ERAS)
async def test_a_card_is_locked_after_three_refused_unlocks(tmp_path: Path, era: Era) -> None:
    async with caller(tmp_path, mode=era, answer="accept") as c:
        card = await new_card(c)
        async with caller(tmp_path, mode=era, answer=None, sandbox=c.sandbox) as later:
            await refused_unlocks(later, card)
            assert (await later.call("update_card", **card, status="locked"))["status"] == "locked"


async def test_a_person_is_asked_to_lock_a_card_after_three_refusals_and_many_asks(tmp_path: Path) -> None:
    rules = policy(tmp_path, "asks_per_minute = 8", ASKING)
    async with caller(tmp_path / "state", policy=rules) as c:
        card = await new_card(c)
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later:
            for label in ("One", "Two", "Three"):
                asked = await later.call("update_card", **card, label=label)
                env = {"MACHINES_STATE_DIR": str(later.state_dir), "MACHINES_POLICY": str(rules)}
                assert await decide(env, asked["approval_id"], yes=False) == "refused"
            assert (await later.call("update_card", **card, label="Four"))["code"] == "policy.denied"
            for network in ("base", "ethereum", "polygon", "arbitrum", "optimism"):
                asked = await later.call("create_deposit", currency="rusd", network=network)
            assert asked["limit"] == "rates.asks_per_minute"
            lock = await later.call("update_card", **card, status="locked")
            assert lock["code"] == "approval.required"
            assert await decide(env, lock["approval_id"]) == "granted"
            done = await later.call("update_card", **card, status="locked", approval_id=lock["approval_id"])
            assert done["status"] == "locked"


async def test_a_card_is_locked_and_closed_while_the_clock_is_behind(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        card = await new_card(c)
        await write_ahead(c)
        assert (await c.call("update_card", **card, label="Food"))["limit"] == "clock.set_back"
        raised = {"limit_amount_cents": 100, "limit_frequency": "allTime"}
        assert (await c.call("update_card", **card, **raised))["limit"] == "clock.set_back"
        assert (await c.call("update_card", **card, status="locked"))["status"] == "locked"
        assert (await c.call("close_card", **card))["status"] == "canceled"


async def new_cards(c: ToolCaller, number: int) -> list[dict[str, Any]]:
    """Return cards of an approved user."""
    await c.approved()
    return [{"card_id": (await c.call("create_card"))["card_id"]} for _ in range(number)]


async def lock(c: ToolCaller, card: dict[str, Any], **more: Any) -> str:
    """Lock the card, and return its status or the error's code."""
    answer = await c.call("update_card", **card, status="locked", **more)
    return str(answer.get("status") or answer["code"])


@pytest.mark.parametrize(
    ("era", "more"), [*zip(ERAS, ({}, {"label": "Lost"}), strict=True)], ids=["lock", "lock and label"]
)
async def test_above_their_rate_a_person_is_asked_about_locks(tmp_path: Path, era: Era, more: dict[str, str]) -> None:
    rules = policy(tmp_path, "locks_per_hour = 2\nmutations_per_hour = 30")
    async with caller(tmp_path / "state", policy=rules) as c:
        cards = await new_cards(c, 4)
        async with caller(tmp_path / "state", mode=era, answer=None, policy=rules, sandbox=c.sandbox) as later:
            assert [await lock(later, card, **more) for card in cards[:2]] == ["locked", "locked"]
            asked = await later.call("update_card", **cards[2], status="locked", **more)
            assert asked["code"] == "approval.required"
            (waiting,) = (await later.call("status"))["waiting"]
            assert waiting["approval_id"] == asked["approval_id"]
            env = {"MACHINES_STATE_DIR": str(later.state_dir), "MACHINES_POLICY": str(rules)}
            # The id is a reference: until a person decides, it locks nothing.
            assert await lock(later, cards[2], **more, approval_id=asked["approval_id"]) == "approval.required"
            assert await decide(env, asked["approval_id"]) == "granted"
            assert await lock(later, cards[2], **more, approval_id=asked["approval_id"]) == "locked"
            # A person decided, and still does for the next one.
            assert await lock(later, cards[3], **more) == "approval.required"
            # Neither the locks nor their rate take anything from other changes.
            assert (await later.call("update_card", **cards[0], label="Food"))["label"] == "Food"


async def test_a_dialog_asks_about_locks_above_their_rate_and_says_why(tmp_path: Path) -> None:
    rules = policy(tmp_path, "locks_per_hour = 0")
    async with caller(tmp_path / "state", policy=rules) as c:
        (card,) = await new_cards(c, 1)
        assert await lock(c, card) == "locked"
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later:
            await later.call("update_card", **card, status="active")
            assert await lock(later, card) == "approval.required"
            env = {
                "MACHINES_ENV": "embedded",
                "MACHINES_STATE_DIR": str(later.state_dir),
                "MACHINES_POLICY": str(rules),
            }
            found, _ = await waiting_approvals(read_settings(env))
            assert "Asked because: the agent has locked as many cards" in found[-1].dialog()


async def test_only_locks_that_took_effect_count(tmp_path: Path) -> None:
    rules = policy(tmp_path, "locks_per_hour = 2")
    async with (
        caller(tmp_path / "state", policy=rules) as c,
        caller(tmp_path / "state", "user-2", policy=rules) as other,
    ):
        cards = await new_cards(c, 2)

        async def left(one: ToolCaller) -> int:
            budgets = {each["limit"]: each["left"] for each in (await one.call("status"))["budgets"] if "left" in each}
            return int(budgets["rates.locks_per_hour"])

        assert await lock(c, cards[0]) == "locked"
        assert [await lock(c, cards[0]) for _ in range(3)] == ["locked"] * 3  # it was locked already
        assert await lock(c, {"card_id": "no-such-card-1"}) == "not_found"
        assert (await left(c), await left(other)) == (1, 2)
        assert await lock(c, cards[1]) == "locked"
        assert await left(c) == 0


async def test_many_locks_at_once_do_not_pass_their_rate(tmp_path: Path) -> None:
    rules = policy(tmp_path, "locks_per_hour = 3")
    async with caller(tmp_path / "state", policy=rules) as c:
        cards = await new_cards(c, 8)
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later:
            found: list[str] = []

            async def one(card: dict[str, Any]) -> None:
                found.append(await lock(later, card))

            async with anyio.create_task_group() as tasks:
                for card in cards:
                    tasks.start_soon(one, card)
            assert sorted(found) == ["approval.required"] * 5 + ["locked"] * 3


async def test_a_lock_does_not_wait_for_a_read_that_fails(tmp_path: Path) -> None:
    async with caller(tmp_path / "state", policy=policy(tmp_path)) as c:
        (card,) = await new_cards(c, 1)
        await c.control("/faults", method="GET", path="/cards/{cardId}", kind="status", status=503, calls=20)
        assert await lock(c, card) == "locked"


async def test_five_locks_an_hour_are_the_default(tmp_path: Path) -> None:
    async with caller(tmp_path / "state", policy=policy(tmp_path)) as c:
        cards = await new_cards(c, 6)
        async with caller(tmp_path / "state", answer=None, policy=policy(tmp_path), sandbox=c.sandbox) as later:
            assert [await lock(later, card) for card in cards] == ["locked"] * 5 + ["approval.required"]


async def asked_and_withdrawn(c: ToolCaller, card: dict[str, Any], **more: str) -> bool:
    """Request to lock the card and withdraw that. Return False if the rate of asks forbids to ask."""
    answer = await c.call("update_card", **card, status="locked", **more)
    if answer["code"] == "policy.denied":
        assert answer["limit"] == "rates.asks_per_minute"
        assert "within 60 seconds" in answer["message"]
        return False
    assert answer["code"] == "approval.required"
    assert (await c.call("cancel_approval", approval_id=answer["approval_id"]))["status"] == "withdrawn"
    return True


@pytest.mark.parametrize("classes", ["", ASKING], ids=["above the rate", "if writes ask"])
@pytest.mark.parametrize("labels", [(None,), ("Lost",), (None, "Lost")], ids=["lock", "lock and label", "both"])
async def test_requests_for_locks_ask_a_person_no_more_often_than_others(
    tmp_path: Path, classes: str, labels: tuple[str | None, ...]
) -> None:
    rules = policy(tmp_path, "locks_per_hour = 0\nasks_per_minute = 3", classes)
    async with caller(tmp_path / "state") as c:
        (card,) = await new_cards(c, 1)
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later:
            age(tmp_path / "state", 61)
            texts = [{} if labels[n % len(labels)] is None else {"label": f"{n}"} for n in range(8)]
            found = [await asked_and_withdrawn(later, card, **text) for text in texts]
            # Where each lock asks, those that only lock are counted apart: other requests must not use up theirs.
            assert found[:3] == [True] * 3
            assert found.count(True) == 3 or (classes and len(labels) == 2)
            assert found.count(True) <= 6
            age(tmp_path / "state", 61)
            assert await asked_and_withdrawn(later, card, **texts[-1])


async def test_requests_for_locks_use_up_no_more_of_the_total_than_others(tmp_path: Path) -> None:
    rules = policy(tmp_path, "locks_per_hour = 0\nasks_per_minute = 3\ntotal.asks_per_minute = 4")
    async with caller(tmp_path / "state") as c, caller(tmp_path / "state", "user-2", sandbox=c.sandbox) as two:
        (card,), (others,) = await new_cards(c, 1), await new_cards(two, 1)
        async with (
            caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later,
            caller(tmp_path / "state", "user-2", answer=None, policy=rules, sandbox=c.sandbox) as other,
        ):
            age(tmp_path / "state", 61)
            for n in range(6):
                await asked_and_withdrawn(later, card, label=f"{n}")
            assert (await other.call("create_card"))["code"] == "approval.required"
            # All of them are used up: that holds the next request, and no lock.
            assert (await other.call("create_card", label="Two"))["limit"] == "rates.total.asks_per_minute"
            assert await lock(other, others) == "approval.required"


async def test_withdrawn_requests_do_not_keep_a_lock_from_being_asked(tmp_path: Path) -> None:
    async with caller(tmp_path / "state") as c:
        cards = await new_cards(c, 2)
        rules = policy(tmp_path, "locks_per_hour = 0")
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later:
            for _ in range(21):
                assert await asked_and_withdrawn(later, cards[0])
            assert await lock(later, cards[1]) == "approval.required"


async def test_many_locks_at_once_do_not_pass_their_rate_after_approved_ones(tmp_path: Path) -> None:
    rules = policy(tmp_path, "locks_per_hour = 5")
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state"), "MACHINES_POLICY": str(rules)}
    async with caller(tmp_path / "state", policy=rules) as c:
        cards = await new_cards(c, 8)
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later:
            for card in cards[:3]:
                # A person approves these, because of their limit.
                limited = {"status": "locked", "limit_amount_cents": 100, "limit_frequency": "allTime"}
                asked = await later.call("update_card", **card, **limited)
                assert await decide(env, asked["approval_id"]) == "granted"
                done = await later.call("update_card", **card, **limited, approval_id=asked["approval_id"])
                assert done["status"] == "locked"
            # All are admitted before the first one reaches the journal.
            await c.control("/faults", kind="delay", path="/cards/{cardId}", method="GET", calls=5, delaySeconds=1)
            found: list[str] = []

            async def one(card: dict[str, Any]) -> None:
                found.append(await lock(later, card))

            async with anyio.create_task_group() as tasks:
                for card in cards[3:]:
                    tasks.start_soon(one, card)
            assert sorted(found) == ["approval.required"] * 3 + ["locked"] * 2


@pytest.mark.parametrize("more", [{}, {"label": "Lost"}], ids=["lock", "lock and label"])
async def test_locks_that_sent_nothing_do_not_count(tmp_path: Path, more: dict[str, str]) -> None:
    rules = policy(tmp_path, "locks_per_hour = 2")
    async with caller(tmp_path / "state") as c:
        cards = await new_cards(c, 3)
        async with caller(tmp_path / "state", answer=None, policy=rules, sandbox=c.sandbox) as later:
            await c.control("/faults", kind="status", status=400, path="/sessions", method="POST", calls=100)
            assert await lock(later, cards[0], **more) == "partner.rejected"
            used = {await lock(later, cards[0], **more) for _ in range(4)}
            assert used == {"partner.rejected"}
            await c.control("/faults/clear")
            assert [await lock(later, card, **more) for card in cards] == ["locked"] * 2 + ["approval.required"]
