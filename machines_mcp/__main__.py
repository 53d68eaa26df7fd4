"""Entry point of `python -m machines_mcp`."""

from machines_mcp.cli.main import main

main()
