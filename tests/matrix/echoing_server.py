"""The server with an upstream that repeats a national id and a tool that displays whatever status upstream gives:
`python -m tests.matrix.echoing_server`."""

from __future__ import annotations

import sys
from typing import Any

from machines_mcp.cli.main import main
from machines_mcp.partner.models.kyc import KycApplication, KycStatus
from machines_mcp.partner.resources.kyc import Kyc
from machines_mcp.tools import kyc


async def submit(self: Kyc, user_id: str, application: KycApplication) -> Any:
    """Stands in for an API that repeats what it received."""
    # A response that was read can't hold such a status.
    return KycStatus.model_construct(status=f"pending {application.national_id}", is_terms_of_service_accepted=False)


def any_status(upstream: str | None) -> str:
    """Stands in for a tool that doesn't compare the status with the documented ones."""
    return str(upstream)


if __name__ == "__main__":
    vars(sys.modules["machines_mcp.partner.resources.kyc"])["Kyc"].submit = submit
    vars(kyc)["known_status"] = any_status
    sys.exit(main())
