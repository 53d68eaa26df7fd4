"""What the bundle starts: the server, on stdin and stdout."""

from machines_mcp.cli.main import main

if __name__ == "__main__":
    main()
