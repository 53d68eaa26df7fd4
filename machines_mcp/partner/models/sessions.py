"""Session tokens: the body and response of `POST /sessions`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.types import Moment, OwnId, RepeatedUserId, ShortText, UserId
from machines_mcp.partner.models.users import Wallet
from machines_mcp.partner.scopes import Scope
from machines_mcp.redaction.secret import Secret


class Session(ResponseModel):
    """A session. `scopes` are those that the API granted."""

    session_id: OwnId | None = documented()
    user_id: RepeatedUserId
    scopes: tuple[str, ...]
    expires_at: Moment | None = documented()
    wallet: Wallet | None = None
    session_token: Secret


class CreateSessionBody(RequestModel):
    """Body of `POST /sessions`. `ttl_seconds` is 60 to 86400."""

    user_id: UserId
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    ttl_seconds: Annotated[int, Field(ge=60, le=86_400)]
    session_label: ShortText | None = None
