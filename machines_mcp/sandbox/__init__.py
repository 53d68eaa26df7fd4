"""A simulator of the Partner API: HTTP on loopback, with its own state, clock, prices and card numbers.

It runs as a separate process (`python -m machines_mcp.sandbox`), imports nothing else from this package and treats all
clients alike. The tests' contract marks behavior that the public API does not document as "our choice".
"""
