"""`machines-mcp demo`: the whole journey, step by step."""
