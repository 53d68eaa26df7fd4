"""Run an agent's whole journey over stdio: follow `next_steps` and add the data that only the user knows.

Run it with `python examples/agent.py`. The server is a separate process, as in a client's config, and `embedded`:
it uses the simulator and needs no key. The script approves every dialog.
"""

import sys
import tempfile
from typing import Any

import anyio
import mcp_types as types
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.stdio import StdioServerParameters, stdio_client

PERSON = {
    "first_name": "Ada", "last_name": "Approved", "birth_date": "1990-12-10", "national_id": "DEMO-0001",
    "country_of_issue": "US", "email": "ada@example.com", "address_line1": "1 Main Street",
    "address_city": "Springfield", "address_region": "IL", "address_postal_code": "62701",
    "address_country_code": "US", "occupation": "15-1132", "annual_salary": "50k–99k", "account_purpose": "testing",
    "expected_monthly_volume": "under $1k",
}  # fmt: skip
KNOWN: dict[str, dict[str, Any]] = {
    "submit_kyc": PERSON,
    "quote_deposit": {"amount": 100},  # in units of the currency
    "create_card": {"label": "Groceries", "limit_amount_cents": 50_00, "limit_frequency": "per30DayPeriod"},
    "reveal_card": {"sink": "none"},  # the vault decrypts and verifies the card, but does not show it
}


async def person(
    context: ClientRequestContext, params: types.ElicitRequestParams
) -> types.ElicitResult | types.ErrorData:
    print(f"  the person is asked: {params.message.splitlines()[0]}")
    return types.ElicitResult(action="accept", content={"decision": "approve"})


async def journey(state_dir: str) -> None:
    env = {"MACHINES_ENV": "embedded", "MACHINES_USER_ID": "user-1", "MACHINES_STATE_DIR": state_dir}
    server = StdioServerParameters(command=sys.executable, args=["-m", "machines_mcp", "serve"], env=env)
    async with Client(stdio_client(server), elicitation_callback=person) as client:
        step: dict[str, Any] | None = {"tool": "status", "arguments": {}}
        while step is not None:
            answer = await client.call_tool(step["tool"], step["arguments"] | KNOWN.get(step["tool"], {}))
            if answer.is_error:
                raise SystemExit(answer.content[0])
            result = answer.structured_content or {}
            print(f"{step['tool']}: {result.get('status', 'done')}")
            step = next(iter(result["next_steps"]), None)  # the first one continues the journey
        print("no next step: the journey is complete")


with tempfile.TemporaryDirectory() as folder:
    anyio.run(journey, folder)
