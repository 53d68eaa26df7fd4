"""`machines-mcp doctor`: checks of the installation, the state and the API."""
