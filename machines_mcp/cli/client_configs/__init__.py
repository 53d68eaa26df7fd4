"""Config files of MCP clients: where they are, and how our entry is added and removed."""
