"""A person decides elsewhere, by an approval's id; judged by the cards that were made and not by what was answered."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.approval.conftest import CARD, MODERN, Worlds, by_every_way, everywhere
from tests.approval.wire import ERAS, Era, body, code
from tests.approval.world import WAYS, Name, Way, World
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


class Story:
    """A new user for whom an agent without a dialog asked for a card."""

    def __init__(self, world: World, era: Era, user_id: str, required: dict[str, Any]) -> None:
        self.world, self.era, self.user_id, self.required = world, era, user_id, required

    async def repeat(self, **changed: Any) -> dict[str, Any]:
        """The same call with the approval's id, but for what is changed."""
        server = await self.world.server(self.era, dialog=False)
        given = CARD | {"user_id": self.user_id, "approval_id": self.required["approval_id"]} | changed
        return await server.call("create_card", {k: v for k, v in given.items() if v is not None})

    async def decide(self, way: Way, decision: str = "approve", **more: str) -> bool:
        return await self.world.decide(way, self.required, decision, **more)

    async def cards(self) -> int:
        return await self.world.cards(self.user_id)


async def begun(worlds: Worlds, name: Name, era: Era) -> Story:
    world = await worlds.named(name)
    user_id, server = await world.user(), await world.server(era, dialog=False)
    answer = await server.call("create_card", CARD | {"user_id": user_id})
    assert code(answer) == "approval.required"
    return Story(world, era, user_id, body(answer))


@by_every_way
async def test_an_approval_makes_one_card_and_then_gives_its_first_answer(
    worlds: Worlds, era: Era, name: Name, way: Way
) -> None:
    story = await begun(worlds, name, era)
    assert code(await story.repeat()) == "approval.required"
    assert await story.cards() == 0
    assert await story.decide(way)
    assert await story.cards() == 0
    before = story.world.sent("POST", "/cards")
    made = [body(await story.repeat()) for _ in range(3)]
    assert story.world.sent("POST", "/cards") == before + 1
    assert "card_id" in made[0] and made[0] == made[1] == made[2]
    assert await story.cards() == 1
    assert not await story.decide(way)
    assert await story.cards() == 1


@by_every_way
async def test_a_refusal_makes_none_and_stays(worlds: Worlds, era: Era, name: Name, way: Way) -> None:
    story = await begun(worlds, name, era)
    assert await story.decide(way, "refuse")
    assert not await story.decide(way)
    assert code(await story.repeat()) == "approval.refused"
    assert await story.cards() == 0


@everywhere
async def test_an_id_that_nobody_approved_makes_none(worlds: Worlds, era: Era, name: Name) -> None:
    story = await begun(worlds, name, era)
    assert code(await story.repeat()) == "approval.required"
    for invented in ("0" * 32, story.required["approval_id"][:-1] + "0", "approve", ""):
        assert code(await story.repeat(approval_id=invented)) != "ok"
    assert await story.cards() == 0


@everywhere
async def test_an_approval_is_worth_nothing_to_another_call_user_tool_or_server(
    worlds: Worlds, era: Era, name: Name
) -> None:
    story = await begun(worlds, name, era)
    foreign = await worlds.named("sandbox" if name == "embedded" else "embedded")
    other = await story.world.user()
    assert await story.decide("desk")
    changes: list[dict[str, Any]] = [
        {"limit_amount_cents": 5001},
        {"limit_amount_cents": 4999},
        {"limit_frequency": "allTime"},
        {"label": "mine"},
        {"limit_amount_cents": None, "limit_frequency": None},
        {"user_id": other},
    ]
    for changed in changes:
        assert code(await story.repeat(**changed)) == "approval.mismatch", changed
    await foreign.resolved(story.user_id)
    elsewhere = Story(foreign, era, story.user_id, story.required)
    assert code(await elsewhere.repeat()) == "approval.mismatch"
    server, given = await story.world.server(era, dialog=False), {"approval_id": story.required["approval_id"]}
    assert code(await server.call("accept_agreements", given | {"user_id": story.user_id})) == "approval.mismatch"
    assert [await story.cards(), await story.world.cards(other), await elsewhere.cards()] == [0, 0, 0]
    assert code(await story.repeat()) == "ok"
    assert await story.cards() == 1


@by_every_way
async def test_an_approval_that_comes_too_late_makes_none(worlds: Worlds, era: Era, name: Name, way: Way) -> None:
    story = await begun(worlds, name, era)
    story.world.change("UPDATE approvals SET expires_at = expires_at - 900 WHERE user_id = ?", story.user_id)
    assert not await story.decide(way)
    assert code(await story.repeat()) == "approval.expired"
    assert await story.cards() == 0


@everywhere
async def test_an_approval_that_is_used_too_late_makes_none(worlds: Worlds, era: Era, name: Name) -> None:
    story = await begun(worlds, name, era)
    assert await story.decide("desk")
    story.world.change("UPDATE approvals SET expires_at = expires_at - 300 WHERE user_id = ?", story.user_id)
    assert code(await story.repeat()) == "approval.expired"
    assert await story.cards() == 0


@everywhere
async def test_of_fifty_at_once_one_makes_a_card(worlds: Worlds, era: Era, name: Name) -> None:
    story = await begun(worlds, name, era)
    assert await story.decide("desk")
    # Half of them in another server over the same state.
    servers = [await story.world.server(era, dialog=dialog) for dialog in (False, True)]
    given = CARD | {"user_id": story.user_id, "approval_id": story.required["approval_id"]}
    before = story.world.sent("POST", "/cards")
    calls = [await servers[n % 2].begin("create_card", given) for n in range(50)]
    with anyio.fail_after(PATIENCE):
        answers = [await call for call in calls]
    assert (await story.cards(), story.world.sent("POST", "/cards")) == (1, before + 1)
    assert {code(answer) for answer in answers} <= {"ok", "outcome.unknown"}
    assert len({body(answer)["card_id"] for answer in answers if code(answer) == "ok"}) == 1


@everywhere
async def test_an_approval_in_the_dialog_and_elsewhere_at_once_make_one(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    user_id, server = await world.user(), await world.server(era)
    question = await server.question("create_card", CARD | {"user_id": user_id})
    mute = await world.server(era, dialog=False)
    required = body(await mute.call("create_card", CARD | {"user_id": user_id}))
    assert [required["approval_id"]] == await world.waiting(user_id)
    assert await world.decide("desk", required, "approve")
    given = CARD | {"user_id": user_id, "approval_id": required["approval_id"]}
    before = world.sent("POST", "/cards")
    calls = [await mute.begin("create_card", given), await question.begin({"action": "accept", "content": {}})]
    with anyio.fail_after(PATIENCE):
        answers = [await call for call in calls]
    assert "ok" in {code(answer) for answer in answers}
    assert (await world.cards(user_id), world.sent("POST", "/cards")) == (1, before + 1)


@pytest.mark.parametrize("way", WAYS)
async def test_a_wrong_passphrase_makes_none_and_the_fifth_locks(worlds: Worlds, way: Way) -> None:
    story = await begun(worlds, "sandbox", MODERN)
    for wrong in ("wrong horse battery", "correct horse batter", "CORRECT HORSE BATTERY", "x" * 200, "0" * 8):
        assert not await story.decide(way, typed=wrong)
    assert not await story.decide(way)
    assert code(await story.repeat()) == "approval.required"
    assert await story.cards() == 0


@pytest.mark.parametrize(("era", "way"), [(ERAS[0], "terminal"), (MODERN, "desk")])
async def test_without_a_passphrase_set_nobody_can_approve(worlds: Worlds, era: Era, way: Way) -> None:
    story = await begun(worlds, "unset", era)
    assert "desk" not in story.required
    if way == "desk":
        # Its address is not given; whoever finds the desk of such a server can't sign in.
        story.required["desk"] = await story.world.desk()
    for typed in ("", "correct horse battery"):
        if way == "desk" or typed:
            assert not await story.decide(way, typed=typed)
            assert not await story.decide(way, "refuse", typed=typed)
    assert code(await story.repeat()) == "approval.required"
    assert await story.cards() == 0
