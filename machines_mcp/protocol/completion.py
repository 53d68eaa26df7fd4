"""Complete arguments of prompts and resource addresses: users, cards, currencies, networks and fixed choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

from machines_mcp.protocol.allowance import allowance_of
from machines_mcp.protocol.dispatcher import Dispatcher
from machines_mcp.protocol.errors import ToolError
from machines_mcp.storage.principal import Principal

MOST = 100

_CHOICES = {"limit": ("50 dollars a month", "100 dollars a week", "20 dollars in total")}


class Completions:
    """Looks up values by the argument's name. Other names have no values."""

    def __init__(self, dispatcher: Dispatcher, principal: Principal) -> None:
        self._dispatcher = dispatcher
        self._principal = principal

    async def complete(
        self, ctx: ServerRequestContext[Any, Any], params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """Return the values that begin with the typed text, at most 100."""
        given = dict((params.context.arguments if params.context else None) or {})
        try:
            known = await self._known(ctx, params.argument.name, given)
        except ToolError:
            known = []
        typed = params.argument.value.lower()
        values = [value for value in known if value.lower().startswith(typed)]
        if params.argument.name == "user_id":
            allowance_of(ctx).allow(values)
        completion = types.Completion(values=values[:MOST], total=len(values), has_more=len(values) > MOST)
        return types.CompleteResult(completion=completion)

    async def _known(self, ctx: ServerRequestContext[Any, Any], name: str, given: Mapping[str, str]) -> list[str]:
        if name == "user_id":
            return self._users()
        if name in _CHOICES:
            return list(_CHOICES[name])
        users = [given["user_id"]] if given.get("user_id") else self._users()
        if not users:
            return []
        who = {} if self._principal.pinned is not None else {"user_id": users[0]}
        if name == "card_id":
            page = await self._dispatcher.read(ctx, "list_cards", who | {"limit": MOST})
            return [card["card_id"] for card in page["cards"]]
        if name in ("currency", "network"):
            listed = await self._dispatcher.read(ctx, "list_deposit_assets", who | {"limit": MOST})
            return _of_assets(listed["assets"], name, given.get("currency", ""))
        return []

    def _users(self) -> list[str]:
        pinned = self._principal.pinned
        return list(self._dispatcher.users) if pinned is None else [pinned]


def _of_assets(assets: list[dict[str, Any]], name: str, currency: str) -> list[str]:
    if name == "currency":
        return [asset["currency"] for asset in assets]
    chosen = [asset for asset in assets if not currency or asset["currency"].lower() == currency.lower()]
    return list(dict.fromkeys(network["id"] for asset in chosen for network in asset["networks"]))
