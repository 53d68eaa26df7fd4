"""A scripted payout: quote, approval, withdrawal. Run it with `python examples/payout.py`.

The client has no dialog, so the call waits for approval. Here `decide` plays the person, who otherwise runs
`machines-mcp approve ID` at a terminal or opens the desk. Then the same call runs once.
"""

import anyio

from machines_mcp.testing import ready_user

ADDRESS = "0x" + "1d" * 20


async def payout() -> None:
    async with ready_user(balance_cents=100_00, answer=None) as user:
        quote = await user.call(
            "quote_withdrawal", amount_cents=25_00, currency="rusd", network="base", address=ADDRESS
        )
        print(f"25.00 USD would arrive as about {quote['estimated_to_amount']} {quote['currency']}")

        waits = await user.try_call("create_withdrawal", quote_id=quote["quote_id"])
        print(f"{waits['code']}: {waits['where'].split(',')[0]}")

        print("the person:", await user.decide(waits["approval_id"]))
        step = waits["next_steps"][0]  # the same call with its approval_id
        arguments = {"quote_id": quote["quote_id"]} | step["arguments"]
        signed = await user.call(step["tool"], **arguments)
        print(f"{signed['status']} to be sent on chain {signed['chain_id']}, until {signed['signature_expires_at']}")

        again = await user.call(step["tool"], **arguments)
        print("a repeated call returns the same withdrawal:", again["withdrawal_id"] == signed["withdrawal_id"])

        print("cents withdrawn:", await user.simulator.execute_withdrawal(user.user_id))
        print("cents to spend:", (await user.call("get_balances"))["spending_power_cents"])


anyio.run(payout)
