"""An MCP server that lets LLM agents take a Machines Cash partner's users from sign-up to a working card."""

__version__ = "0.1.0"
