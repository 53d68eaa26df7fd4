"""How we speak MCP: the tools and their schemas, dispatch, questions to the client, stdio on the event loop."""
