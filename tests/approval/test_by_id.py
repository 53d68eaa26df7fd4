"""Approvals outside the dialog, by approval id. Each test counts the created cards, not only the responses."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.approval.conftest import CARD, MODERN, Worlds, every_channel, everywhere
from tests.approval.wire import ERAS, Era, body, code
from tests.approval.world import CHANNELS, Channel, Installation, Name
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


class CardRequest:
    """A new user for whom a client without a dialog requested a card."""

    def __init__(self, world: Installation, era: Era, user_id: str, required: dict[str, Any]) -> None:
        self.world, self.era, self.user_id, self.required = world, era, user_id, required

    async def repeat(self, **changed: Any) -> dict[str, Any]:
        """Repeat the call with the approval's id and the given changes."""
        server = await self.world.server(self.era, dialog=False)
        given = CARD | {"user_id": self.user_id, "approval_id": self.required["approval_id"]} | changed
        return await server.call("create_card", {k: v for k, v in given.items() if v is not None})

    async def decide(self, channel: Channel, decision: str = "approve", **more: str) -> bool:
        return await self.world.decide(channel, self.required, decision, **more)

    async def cards(self) -> int:
        return await self.world.cards(self.user_id)


async def request_card(worlds: Worlds, name: Name, era: Era) -> CardRequest:
    world = await worlds.named(name)
    user_id, server = await world.user(), await world.server(era, dialog=False)
    answer = await server.call("create_card", CARD | {"user_id": user_id})
    assert code(answer) == "approval.required"
    return CardRequest(world, era, user_id, body(answer))


@every_channel
async def test_an_approval_creates_one_card_and_repeats_return_the_first_result(
    worlds: Worlds, era: Era, name: Name, channel: Channel
) -> None:
    asked = await request_card(worlds, name, era)
    assert code(await asked.repeat()) == "approval.required"
    assert await asked.cards() == 0
    assert await asked.decide(channel)
    assert await asked.cards() == 0
    before = asked.world.sent("POST", "/cards")
    made = [body(await asked.repeat()) for _ in range(3)]
    assert asked.world.sent("POST", "/cards") == before + 1
    assert "card_id" in made[0] and made[0] == made[1] == made[2]
    assert await asked.cards() == 1
    assert not await asked.decide(channel)
    assert await asked.cards() == 1


@every_channel
async def test_a_refusal_is_final_and_creates_no_card(worlds: Worlds, era: Era, name: Name, channel: Channel) -> None:
    asked = await request_card(worlds, name, era)
    assert await asked.decide(channel, "refuse")
    assert not await asked.decide(channel)
    assert code(await asked.repeat()) == "approval.refused"
    assert await asked.cards() == 0


@everywhere
async def test_an_unapproved_or_invented_id_creates_no_card(worlds: Worlds, era: Era, name: Name) -> None:
    asked = await request_card(worlds, name, era)
    assert code(await asked.repeat()) == "approval.required"
    for invented in ("0" * 32, asked.required["approval_id"][:-1] + "0", "approve", ""):
        assert code(await asked.repeat(approval_id=invented)) != "ok"
    assert await asked.cards() == 0


@everywhere
async def test_an_approval_is_bound_to_its_arguments_user_tool_and_server(worlds: Worlds, era: Era, name: Name) -> None:
    asked = await request_card(worlds, name, era)
    foreign = await worlds.named("sandbox" if name == "embedded" else "embedded")
    other = await asked.world.user()
    assert await asked.decide("desk")
    changes: list[dict[str, Any]] = [
        {"limit_amount_cents": 5001},
        {"limit_amount_cents": 4999},
        {"limit_frequency": "allTime"},
        {"label": "mine"},
        {"limit_amount_cents": None, "limit_frequency": None},
        {"user_id": other},
    ]
    for changed in changes:
        assert code(await asked.repeat(**changed)) == "approval.mismatch", changed
    await foreign.resolved(asked.user_id)
    elsewhere = CardRequest(foreign, era, asked.user_id, asked.required)
    assert code(await elsewhere.repeat()) == "approval.mismatch"
    server, given = await asked.world.server(era, dialog=False), {"approval_id": asked.required["approval_id"]}
    assert code(await server.call("accept_agreements", given | {"user_id": asked.user_id})) == "approval.mismatch"
    assert [await asked.cards(), await asked.world.cards(other), await elsewhere.cards()] == [0, 0, 0]
    assert code(await asked.repeat()) == "ok"
    assert await asked.cards() == 1


@every_channel
async def test_an_expired_request_cannot_be_approved(worlds: Worlds, era: Era, name: Name, channel: Channel) -> None:
    asked = await request_card(worlds, name, era)
    asked.world.change("UPDATE approvals SET expires_at = expires_at - 900 WHERE user_id = ?", asked.user_id)
    assert not await asked.decide(channel)
    assert code(await asked.repeat()) == "approval.expired"
    assert await asked.cards() == 0


@everywhere
async def test_an_approval_that_expired_before_use_creates_no_card(worlds: Worlds, era: Era, name: Name) -> None:
    asked = await request_card(worlds, name, era)
    assert await asked.decide("desk")
    asked.world.change("UPDATE approvals SET expires_at = expires_at - 300 WHERE user_id = ?", asked.user_id)
    assert code(await asked.repeat()) == "approval.expired"
    assert await asked.cards() == 0


@everywhere
async def test_fifty_concurrent_repeats_create_one_card(worlds: Worlds, era: Era, name: Name) -> None:
    asked = await request_card(worlds, name, era)
    assert await asked.decide("desk")
    # Half of them go to a second server that shares the state folder.
    servers = [await asked.world.server(era, dialog=dialog) for dialog in (False, True)]
    given = CARD | {"user_id": asked.user_id, "approval_id": asked.required["approval_id"]}
    before = asked.world.sent("POST", "/cards")
    calls = [await servers[n % 2].begin("create_card", given) for n in range(50)]
    with anyio.fail_after(PATIENCE):
        answers = [await call for call in calls]
    assert (await asked.cards(), asked.world.sent("POST", "/cards")) == (1, before + 1)
    assert {code(answer) for answer in answers} <= {"ok", "outcome.unknown"}
    assert len({body(answer)["card_id"] for answer in answers if code(answer) == "ok"}) == 1


@everywhere
async def test_approving_in_the_dialog_and_at_the_desk_creates_one_card(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    user_id, server = await world.user(), await world.server(era)
    question = await server.question("create_card", CARD | {"user_id": user_id})
    mute = await world.server(era, dialog=False)
    required = body(await mute.call("create_card", CARD | {"user_id": user_id}))
    assert [required["approval_id"]] == await world.waiting(user_id)
    assert await world.decide("desk", required, "approve")
    given = CARD | {"user_id": user_id, "approval_id": required["approval_id"]}
    before = world.sent("POST", "/cards")
    calls = [
        await mute.begin("create_card", given),
        await question.begin({"action": "accept", "content": {"decision": "approve"}}),
    ]
    with anyio.fail_after(PATIENCE):
        answers = [await call for call in calls]
    assert "ok" in {code(answer) for answer in answers}
    assert (await world.cards(user_id), world.sent("POST", "/cards")) == (1, before + 1)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_wrong_passphrase_creates_no_card_and_delays_the_right_one(worlds: Worlds, channel: Channel) -> None:
    asked = await request_card(worlds, "sandbox", MODERN)
    for wrong in ("wrong horse battery", "correct horse batter", "CORRECT HORSE BATTERY", "x" * 200, "0" * 8):
        assert not await asked.decide(channel, typed=wrong)
    asked.world.delay_passphrases()
    assert not await asked.decide(channel)
    assert code(await asked.repeat()) == "approval.required"
    assert await asked.cards() == 0


@pytest.mark.parametrize(("era", "channel"), [(ERAS[0], "terminal"), (MODERN, "desk")])
async def test_without_a_passphrase_every_approval_is_refused(worlds: Worlds, era: Era, channel: Channel) -> None:
    asked = await request_card(worlds, "unset", era)
    assert "desk" not in asked.required
    if channel == "desk":
        # The response omits the desk's address. Signing in fails even with a known address.
        asked.required["desk"] = await asked.world.desk()
    for typed in ("", "correct horse battery"):
        if channel == "desk" or typed:
            assert not await asked.decide(channel, typed=typed)
            assert not await asked.decide(channel, "refuse", typed=typed)
    assert code(await asked.repeat()) == "approval.required"
    assert await asked.cards() == 0
