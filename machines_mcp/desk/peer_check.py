"""Check that the desk which another server recorded is running and belongs to this state folder."""

from __future__ import annotations

import asyncio
import hmac
import secrets

from machines_mcp.desk.dependencies import DeskDependencies

PROOF_PATH, CHALLENGE = "/proof", "x-desk-challenge"
ANSWER_SECONDS = 1.0
MOST_BYTES = 8 * 1024


def proof(rooms: DeskDependencies, challenge: str, port: int) -> str:
    """Return the proof that only a desk with this state folder and policy, at this port, can compute."""
    return hmac.digest(rooms.key, f"desk\0{challenge}\0{port}\0{rooms.kind}".encode(), "sha256").hex()


async def answers(rooms: DeskDependencies, port: int) -> bool:
    """Return whether the desk at `port` is this folder's. Another program may have taken over the port."""
    if not 0 < port < 65_536:
        return False
    challenge = secrets.token_hex(32)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            said = await _ask(port, challenge)
    except (OSError, TimeoutError, ValueError):
        return False
    return hmac.compare_digest(said, proof(rooms, challenge, port).encode())


async def _ask(port: int, challenge: str) -> bytes:
    """Return the body of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MOST_BYTES)
    try:
        lines = (
            f"GET {PROOF_PATH} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"{CHALLENGE}: {challenge}",
            "Connection: close",
        )
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        await writer.drain()
        answer = b""
        while len(answer) < MOST_BYTES and (more := await reader.read(MOST_BYTES)):
            answer += more
        return answer.partition(b"\r\n\r\n")[2]
    finally:
        writer.close()
