"""`machines-mcp demo`: the whole journey, told step by step."""
