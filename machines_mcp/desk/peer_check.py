"""Check that the desk which another server recorded is running and belongs to this state folder."""

from __future__ import annotations

import asyncio
import hmac
import secrets

from machines_mcp.desk.dependencies import DeskDependencies

PROOF_PATH, CHALLENGE = "/proof", "x-desk-challenge"
RESPONSE_SECONDS = 1.0
MAX_RESPONSE_BYTES = 8 * 1024


def compute_proof(dependencies: DeskDependencies, challenge: str, port: int) -> str:
    """Return the proof that only a desk with this state folder and policy, at this port, can compute."""
    return hmac.digest(
        dependencies.key, f"desk\0{challenge}\0{port}\0{dependencies.fingerprint}".encode(), "sha256"
    ).hex()


async def is_own_desk(dependencies: DeskDependencies, port: int) -> bool:
    """Return whether the desk at `port` is this folder's. Another program may have taken over the port."""
    if not 0 < port < 65_536:
        return False
    challenge = secrets.token_hex(32)
    try:
        async with asyncio.timeout(RESPONSE_SECONDS):
            received = await _request_proof(port, challenge)
    except (OSError, TimeoutError, ValueError):
        return False
    return hmac.compare_digest(received, compute_proof(dependencies, challenge, port).encode())


async def _request_proof(port: int, challenge: str) -> bytes:
    """Return the body of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MAX_RESPONSE_BYTES)
    try:
        lines = (
            f"GET {PROOF_PATH} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"{CHALLENGE}: {challenge}",
            "Connection: close",
        )
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        await writer.drain()
        response = b""
        while len(response) < MAX_RESPONSE_BYTES and (more := await reader.read(MAX_RESPONSE_BYTES)):
            response += more
        return response.partition(b"\r\n\r\n")[2]
    finally:
        writer.close()
