"""Serve MCP: tools and their schemas, dispatch, elicitation, and stdio on the event loop."""
