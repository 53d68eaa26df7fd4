"""The users that this server knows. The Partner API has no list of them."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.tool import Input, Output, OutputPart, Text, tool
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.known_users import KnownUser
from machines_mcp.tools.lists import PageSize
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.text import pluralize


class ListUsers(Input):
    query: Text | None = Field(default=None, min_length=1, max_length=120, description="How their ids begin")
    limit: PageSize = 20


class UserOutput(OutputPart):
    user_id: Verbatim
    since: datetime = Field(description="Time of the first change")


class UserListOutput(Output):
    users: list[UserOutput]
    users_total: int

    def summary(self) -> str:
        more = "" if self.users_total == len(self.users) else f", {self.users_total:,} in all"
        return f"{pluralize(len(self.users), 'user')}{more}."


@tool(title="List users", toolset="onboarding", action_class=ActionClass.READ, idempotent=True, open_world=False)
async def list_users(call: ServiceContext, args: ListUsers) -> UserListOutput:
    """List the users this server has changed something for and may act for, newest first."""
    state = call.services.state
    found, total = await state.guard.known_users.newest(args.query or "", args.limit)
    users = [_output(each) for each in found]
    follow = next_step(call, "get_kyc_status", "See how far a user is.")
    step = follow.model_copy(update={"arguments": state.user_argument(users[0].user_id)}) if users else follow
    return UserListOutput(users=users, users_total=total, next_steps=[step] if users else [])


def _output(user: KnownUser) -> UserOutput:
    return UserOutput(user_id=Verbatim(user.user_id), since=datetime.fromtimestamp(int(user.since), UTC))
