"""A session of the Python SDK's client with a server over stdio, with the same steps as `session.mjs`."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from typing import Any

import anyio
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.support.approver import FakeApprover

Seen = dict[str, Any]
Plan = Mapping[str, Any]


class Session:
    """The steps over one connection."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.person = FakeApprover()
        self.seen: Seen = {"changed": []}
        self.told = anyio.Event()

    async def run(self) -> Seen:
        """Run every step. The server has exited when it returns."""
        command = StdioServerParameters(
            command=self.plan["command"], args=self.plan["args"], env=dict(self.plan["env"]), cwd=self.plan["cwd"]
        )
        mode = "auto" if self.plan["era"] == "2026-07-28" else "legacy"
        client = Client(
            stdio_client(command),
            mode=mode,
            elicitation_callback=self.person,
            message_handler=self._message,
            client_info=types.Implementation(name="peer-python", version="1"),
        )
        with anyio.fail_after(90):
            async with client:
                await self._introduced(client)
                await self._lists(client)
                await self._journey(client)
                await self._interrupted(client)
                await self._watched(client)
                await self._prompts(client)
                await self._errors(client)
                left = time.monotonic()
        self.seen["closed_in_ms"] = (time.monotonic() - left) * 1000
        self.seen["opened"] = [page.url for page in self.person.offered]
        offers = [page.message for page in self.person.offered]
        self.seen["asked"] = [message for message in self.person.asked if message not in offers]
        return self.seen

    async def _message(self, message: object) -> None:
        # On 2026-07-28 the stream carries the same notification, and only the stream counts.
        if isinstance(message, types.ResourceUpdatedNotification) and self.plan["era"] != "2026-07-28":
            self.seen["changed"].append(message.params.uri)
            self.told.set()

    async def _introduced(self, client: Client) -> None:
        assert client.server_info is not None
        self.seen["protocol"] = client.protocol_version
        self.seen["server"] = _wire(client.server_info)
        self.seen["instructions"] = client.instructions
        self.seen["capabilities"] = _wire(client.server_capabilities)
        self.seen["ping"] = None
        if self.plan["era"] != "2026-07-28":
            with warnings.catch_warnings(action="ignore", category=MCPDeprecationWarning):
                await client.send_ping()
            self.seen["ping"] = 0

    async def _lists(self, client: Client) -> None:
        listed = await client.list_tools()
        self.seen["tools"] = [tool.name for tool in listed.tools]
        self.seen["tools_again"] = [tool.name for tool in (await client.list_tools()).tools]
        told = listed.model_fields_set
        self.seen["cache"] = [
            listed.cache_scope if "cache_scope" in told else None,
            listed.ttl_ms if "ttl_ms" in told else None,
        ]
        self.seen["resources"] = [found.uri for found in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates
        self.seen["templates"] = [found.uri_template for found in templates]
        self.seen["prompts"] = [found.name for found in (await client.list_prompts()).prompts]
        self.seen["status"] = _wire(await client.call_tool("status", {}))

    async def _journey(self, client: Client) -> None:
        await self._call(client, "create_session", purpose="kyc")
        await self._call(client, "resolve_user")
        self.person.answer = "decline"
        self.seen["declined"] = _text(await self._call(client, "submit_kyc", **self.plan["applicant"]))
        self.person.answer = "accept"
        self.seen["accepted"] = (await self._call(client, "submit_kyc", **self.plan["applicant"])).structured_content
        self.seen["agreed"] = _links(await self._call(client, "accept_agreements"))
        await self._call(client, "create_deposit", currency="rusd", network="base", amount=100)
        card = await self._call(client, "create_card", limit_amount_cents=5000, limit_frequency="per30DayPeriod")
        assert card.structured_content is not None
        self.seen["card"], self.seen["linked"] = card.structured_content, _links(card)
        reveal = await self._call(client, "reveal_card", card_id=card.structured_content["card_id"], sink="page")
        self.seen["revealed"] = json.loads(_text(reveal))

    async def _interrupted(self, client: Client) -> None:
        who = self.plan["other"]
        await client.call_tool("create_session", {"user_id": who, "purpose": "kyc"})
        await client.call_tool("resolve_user", {"user_id": who})
        await client.call_tool("submit_kyc", {"user_id": who, **self.plan["applicant"], "last_name": "Waiting"})
        self.seen["progress"] = []
        begun = time.monotonic()
        with anyio.CancelScope() as stop:

            async def note(progress: float, total: float | None, message: str | None) -> None:
                self.seen["progress"].append({"progress": progress, "total": total, "message": message})
                stop.cancel()

            waiting = {"user_id": who, "wait_seconds": 50}
            await client.call_tool("get_kyc_status", waiting, progress_callback=note)
        self.seen["stopped"] = stop.cancelled_caught
        self.seen["stopped_after_ms"] = (time.monotonic() - begun) * 1000
        self.seen["afterwards"] = (await client.call_tool("status", {})).structured_content

    async def _watched(self, client: Client) -> None:
        uri = self.seen["linked"][0]
        if self.plan["era"] == "2026-07-28":
            async with client.listen(resource_subscriptions=[uri]) as stream:
                await self._lock(client)
                with anyio.move_on_after(10):
                    self.seen["changed"] = [getattr(await anext(stream), "uri", None)]
        else:
            with warnings.catch_warnings(action="ignore", category=MCPDeprecationWarning):
                await client.subscribe_resource(uri)
                await self._lock(client)
                with anyio.move_on_after(10):
                    await self.told.wait()
                await client.unsubscribe_resource(uri)
        (content,) = (await client.read_resource(uri)).contents
        self.seen["read"] = json.loads(getattr(content, "text", "{}"))

    async def _lock(self, client: Client) -> None:
        await self._call(client, "update_card", card_id=self.seen["card"]["card_id"], status="locked")

    async def _prompts(self, client: Client) -> None:
        filled = await client.get_prompt("issue_card", {"user_id": self.plan["who"]})
        self.seen["prompt"] = getattr(filled.messages[0].content, "text", "")
        found = await client.complete(
            types.PromptReference(type="ref/prompt", name="issue_card"),
            {"name": "user_id", "value": self.plan["who"][:4]},
        )
        self.seen["completion"] = found.completion.values

    async def _errors(self, client: Client) -> None:
        unknown = types.Request[types.RequestParams, str](method="no/such", params=types.RequestParams())
        self.seen["errors"] = []
        for asked in (client.session.send_request(unknown, types.EmptyResult), client.get_prompt("no_such")):
            try:
                await asked
            except MCPError as error:
                self.seen["errors"].append(error.error.code)

    async def _call(self, client: Client, tool: str, **arguments: Any) -> types.CallToolResult:
        found = await client.call_tool(tool, {"user_id": self.plan["who"], **arguments})
        assert isinstance(found, types.CallToolResult)
        return found


def _wire(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _text(result: types.CallToolResult) -> str:
    return getattr(result.content[0], "text", "")


def _links(result: types.CallToolResult) -> list[str]:
    return [content.uri for content in result.content if isinstance(content, types.ResourceLink)]
