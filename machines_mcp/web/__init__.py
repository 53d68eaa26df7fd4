"""Serve pages to this machine's browser: the loopback server, request checks and headers of the desk and the vault."""
