"""The whole journey by the client alone, against a simulator of its own: from nobody to a card and its secrets.

Run it with `python examples/journey.py`. Nothing in it is real, and it prints no card secrets.
"""

import json
import subprocess
import sys

import anyio

from machines_mcp.partner import CardLimit, KycAddress, KycApplication, PartnerClient
from machines_mcp.secret import Secret

USER = "user-1"  # the partner's own id of the person
HOME = KycAddress(line1="1 Main Street", city="Springfield", region="IL", postal_code="62701", country_code="US")


async def journey(base_url: str, partner_key: str) -> None:
    async with PartnerClient(base_url, Secret(partner_key), card_secrets=True) as client:
        await client.users.resolve(USER)
        form = await client.kyc.values(USER)
        person = KycApplication(
            first_name="Ada", last_name="Approved", birth_date="1990-12-10", national_id="DEMO-0001",
            country_of_issue="US", email="ada@example.com", address=HOME, occupation=form.occupations[0].code,
            annual_salary=form.annual_salary[0], account_purpose=form.account_purpose[0],
            expected_monthly_volume=form.expected_monthly_volume[0],
        )  # fmt: skip
        print("kyc:", (await client.kyc.submit(USER, person)).status)
        print("agreements accepted:", (await client.agreements.accept(USER)).accepted)
        deposit = await client.deposits.create(USER, "rusd", "base", amount=25)  # in units of the currency
        print("pay 25", deposit.from_currency, "on", deposit.from_network)
        for _ in range(60):
            if (await client.balances.get(USER)).spending_power:
                break
            await anyio.sleep(0.5)
        print("spending power in cents:", (await client.balances.get(USER)).spending_power)
        label = await client.encryption.encrypt(USER, "Groceries")
        limit = CardLimit(amount_cents=25_00, frequency="per30DayPeriod")
        card = await client.cards.create(USER, encrypted_name=label, limit=limit, idempotency_key="my-order-0001")
        print("card:", card.status, "ending", card.last4)
        session = await client.cards.secrets_session(USER)
        sealed = await client.cards.secrets(USER, card.card_id, session.session_id)
        print(f"secrets: sealed, card valid to {sealed.expiration_month:02}/{sealed.expiration_year}")
        await client.cards.update(USER, card.card_id, status="locked")
        print("card:", (await client.cards.delete(USER, card.card_id)).status)


command = [sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", "--leased"]
# The simulator ends by itself when its stdin is closed, which is when this block ends.
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
    first = json.loads(process.stdout.readline()) if process.stdout else {}
    anyio.run(journey, first["base_url"], first["partner_key"])
