"""The server with an upstream that repeats a national id: `python -m tests.matrix.echoing_server`."""

from __future__ import annotations

import sys
from typing import Any

from machines_mcp.cli.main import main
from machines_mcp.partner.models.kyc import KycApplication, KycStatus
from machines_mcp.partner.resources.kyc import Kyc


async def submit(self: Kyc, user_id: str, application: KycApplication) -> Any:
    """Stands in for an API that repeats what it received."""
    return KycStatus(status=f"pending {application.national_id}", is_terms_of_service_accepted=False)


if __name__ == "__main__":
    vars(sys.modules["machines_mcp.partner.resources.kyc"])["Kyc"].submit = submit
    sys.exit(main())
