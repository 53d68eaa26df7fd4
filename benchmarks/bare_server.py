"""A minimal SDK server: one typed tool on `MCPServer`, over the SDK's stdio."""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel

server = MCPServer("bare", log_level="WARNING")


class Status(BaseModel):
    environment: str
    user_id: str
    tools: int


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def status() -> Status:
    """Say what this server is."""
    return Status(environment="embedded", user_id="user-1", tools=1)


if __name__ == "__main__":
    server.run("stdio")
