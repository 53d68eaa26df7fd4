"""Check that the desk which another server recorded is running and belongs to this state folder.

Both sides prove that they know the folder's desk key: the port may belong to another program by now, and a program
without the key must not learn that this is a desk.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets

from machines_mcp.web.browser_security import constant_time_equal

PROOF_PATH, CHALLENGE = "/proof", "x-desk-challenge"
RESPONSE_SECONDS = 1.0
MAX_RESPONSE_BYTES = 8 * 1024


def make_challenge(key: bytes, port: int) -> str:
    """Return a new challenge for the desk at `port`: a nonce and its MAC."""
    nonce = secrets.token_hex(32)
    return f"{nonce}{_mac(key, 'challenge', nonce, port)}"


def answer_challenge(key: bytes, fingerprint: str, port: int, challenge: str) -> str | None:
    """Return the proof that only a desk with this key and fingerprint, at this port, can compute.

    None if the challenge was not made with the key for this port.
    """
    nonce = challenge[:64]
    if not re.fullmatch(r"[0-9a-f]{128}", challenge):
        return None
    if not constant_time_equal(challenge[64:], _mac(key, "challenge", nonce, port)):
        return None
    return _mac(key, "desk", nonce, port, fingerprint)


async def is_own_desk(key: bytes, fingerprint: str, port: int) -> bool:
    """Return whether the desk at `port` has this key and fingerprint."""
    if not 0 < port < 65_536:
        return False
    challenge = make_challenge(key, port)
    try:
        async with asyncio.timeout(RESPONSE_SECONDS):
            received = await _request_proof(port, challenge)
    except (OSError, TimeoutError, ValueError):
        return False
    return hmac.compare_digest(received, (answer_challenge(key, fingerprint, port, challenge) or "").encode())


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


def _mac(key: bytes, *parts: object) -> str:
    return hmac.digest(key, "\0".join(map(str, parts)).encode(), "sha256").hex()
