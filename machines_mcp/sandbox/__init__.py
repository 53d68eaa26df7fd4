"""The embedded Partner API: a simulator over HTTP on loopback with its own state, clock, prices and card numbers.

It runs as a process of its own (`python -m machines_mcp.sandbox`), imports nothing else of the package and never knows
who asks. What it does where the public API says nothing is written down once, as "our choice", in the tests' contract.
"""
