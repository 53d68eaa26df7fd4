"""A lost card: lock it, close it, issue another. Run it with `python examples/lost_card.py`; it uses the simulator.

Every dialog is approved. Locking needs no approval, because it is urgent; closing and issuing do.
"""

import anyio

from machines_mcp.testing import ReadyUser, ready_user

WISH = {"label": "Groceries", "limit_amount_cents": 50_00, "limit_frequency": "per30DayPeriod"}


async def pay(user: ReadyUser, card: dict[str, str], cents: int) -> None:
    paid = await user.simulator.spend(card["card_id"], cents, "Corner Shop")
    print(f"  {cents} cents: {'paid' if paid.approved else paid.reason}")


async def lost_card() -> None:
    async with ready_user(balance_cents=100_00) as user:
        lost = await user.call("create_card", **WISH)
        print("the card is", lost["status"])
        await pay(user, lost, 12_00)

        locked = await user.call("update_card", card_id=lost["card_id"], status="locked")
        print("reported lost, so it is", locked["status"])
        await pay(user, lost, 30_00)

        closed = await user.call("close_card", card_id=lost["card_id"])
        print("not recovered, so it is", closed["status"])

        new = await user.call("create_card", **WISH)
        print("the replacement is", new["status"])
        await pay(user, new, 30_00)

        await user.simulator.advance(60)  # charges post
        for row in (await user.call("list_transactions"))["transactions"]:
            if row["type"] == "spend":
                which = "new" if row["card_id"] == new["card_id"] else "lost"
                print(f"  {row['status']}: {row['amount_cents']} cents with the {which} card")


anyio.run(lost_card)
