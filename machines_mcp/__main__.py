"""`python -m machines_mcp`."""

from machines_mcp.cli import main

main()
