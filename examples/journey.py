"""Run the whole journey with the typed client and its own simulator: from a new user to a card and its secrets.

Run it with `python examples/journey.py`. It uses the simulator and prints no card secrets. The simulator exits
when its stdin closes, at the end of the last block.
"""

import json
import sys
from subprocess import PIPE, Popen

import anyio

from machines_mcp.partner import CardLimit, KycAddress, KycApplication, PartnerClient

USER = "user-1"  # the partner's own id for the user
HOME = KycAddress(line1="1 Main Street", city="Springfield", region="IL", postal_code="62701", country_code="US")


async def journey(address: dict[str, str]) -> None:
    async with PartnerClient(address["base_url"], address["partner_key"], card_secrets=True) as client:
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
        print("deposit:", (await client.deposits.wait(USER, deposit.id)).status)
        print("spending power in cents:", (await client.balances.get(USER)).spending_power)
        label = await client.encryption.encrypt(USER, "Groceries")
        limit = CardLimit(amount_cents=25_00, frequency="per30DayPeriod")
        card = await client.cards.create(USER, encrypted_name=label, limit=limit, idempotency_key="my-order-0001")
        session = await client.cards.secrets_session(USER)  # its key decrypts the card
        sealed = await client.cards.secrets(USER, card.card_id, session.session_id)
        print(f"card {card.last4} is {card.status}, valid to {sealed.expiration_month:02}/{sealed.expiration_year}")


with Popen([sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", "--leased"], stdin=PIPE, stdout=PIPE) as api:
    anyio.run(journey, json.loads(api.stdout.readline() if api.stdout else ""))
