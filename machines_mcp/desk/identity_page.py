"""Show a user's identity check: the provider's own words and the link to its page, which the model may not get."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import urlsplit

from starlette.responses import Response

from machines_mcp.desk.routing import PageRenderer, Route, SessionRequest
from machines_mcp.partner.errors import PartnerError
from machines_mcp.redaction.characters import shown
from machines_mcp.redaction.links import is_openable

NAME = "[A-Za-z0-9_-]{1,700}"
"""The pattern of a user's name in the path."""


def identity_path(user_id: str) -> str:
    """Return the path of a user's page, without a slash before it."""
    return f"identity/{base64.urlsafe_b64encode(user_id.encode()).decode('ascii').rstrip('=')}"


class IdentityPage:
    """Shows the status as Machines has it now. It changes nothing."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer
        self._known = renderer.dependencies

    def routes(self) -> list[Route]:
        """Return the route of the page."""
        return [Route(re.compile(f"/identity/({NAME})"), get=self.show)]

    async def show(self, request: SessionRequest) -> Response:
        """Show the identity check of one user."""
        user_id, guard = _user_id(request.path_parameter), self._known.guard
        # Loading the status opens a session, which would make a user who does not exist.
        if not guard.principal.may_act_for(user_id) or not await guard.known_users.knows(user_id):
            return self._renderer.templates.message_response(404, "There is no such user here.")
        try:
            status = await self._known.kyc_status(user_id)
        except PartnerError:
            return self._renderer.templates.message_response(
                502, "The status could not be loaded from Machines. Try again in a moment."
            )
        link = status.link or ""
        openable = is_openable(link) and self._known.mask(link) == link
        return self._renderer.page(
            request,
            "identity",
            user_id=user_id,
            meaning=self._known.kyc_meaning(status.status),
            reason=self._known.mask(shown(status.reason or "")),
            link=link if openable else "",
            host=urlsplit(link).netloc if openable else "",
            withheld=bool(link) and not openable,
        )


def _user_id(name: str) -> str:
    try:
        return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
