"""How we speak MCP: the registry of tools, their schemas, dispatch, questions to the client, stdio on the event loop."""
