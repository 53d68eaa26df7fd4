"""Every faulty response under test, as bytes on a connection."""

from __future__ import annotations

import gzip
import json
import socket
import struct

import anyio
from anyio.abc import ByteStream, SocketAttribute

from tests.support.clock import advance_loop_clock
from tests.support.partner_upstream import (
    DEADLINE,
    Answer,
    drip,
    good,
    hang_up,
    http,
    not_http,
    refusal,
    stall_for,
    then_close,
)

CARDS: dict[str, list[str]] = {"cards": []}
OK = json.dumps({"ok": True, "data": CARDS, "summary": "", "errors": []}).encode()
DAY = "86400"


def with_data(data: bytes) -> bytes:
    """Return the envelope around bytes that may not be JSON."""
    return b'{"ok":true,"summary":"","errors":[],"data":' + data + b"}"


async def reset(stream: ByteStream) -> None:
    """Reset the connection instead of closing it."""
    raw: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise anyio.EndOfStream


async def header_flood(stream: ByteStream) -> None:
    """Send headers without end."""
    await stream.send(b"HTTP/1.1 200 X\r\n")
    line = b"X-Flood: " + b"y" * 1000 + b"\r\n"
    for _ in range(100_000):
        await stream.send(line)


async def hints_flood(stream: ByteStream) -> None:
    """Send informational responses without end."""
    while True:
        await stream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        advance_loop_clock(0.5)
        await anyio.lowlevel.checkpoint()


async def gigabyte(stream: ByteStream) -> None:
    """Announce a gigabyte and send it."""
    await stream.send(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n")
    block = b" " * 65536
    for _ in range(16_384):
        await stream.send(block)


async def endless_chunks(stream: ByteStream) -> None:
    """Send chunks without end."""
    await stream.send(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    block = b"10000\r\n" + b" " * 65536 + b"\r\n"
    while True:
        await stream.send(block)


# Gzip members that add up to a gigabyte. Each is compressed only once.
_BOMB = gzip.compress(b" " * (1 << 24), 9) * 64


def gzip_bomb(marked: bool) -> Answer:
    """A megabyte that expands to a gigabyte, with or without a Content-Encoding."""
    return http(200, _BOMB, {"Content-Encoding": "gzip"} if marked else {})


async def drip_of_the_head(stream: ByteStream) -> None:
    """Send a status line that never ends."""
    for byte in b"HTTP/1.1 200 X\r\nX-Slow: " + b"z" * 5000:
        await stream.send(bytes([byte]))
        advance_loop_clock(0.5)
        await anyio.lowlevel.checkpoint()


async def stall_in_the_body(stream: ByteStream) -> None:
    """Send only the first byte of the body."""
    await http(200, OK[:1], {"Content-Length": str(len(OK))})(stream)
    await stall_for(DEADLINE)(stream)


MALFORMED: dict[str, Answer] = {
    "half a JSON": http(200, OK[: len(OK) // 2]),
    "HTML with 200": http(200, b"<!doctype html><h1>Welcome</h1>", {"Content-Type": "text/html"}),
    "HTML said to be JSON": http(200, b"<!doctype html><h1>Welcome</h1>"),
    "empty 200": http(200, b""),
    "204": http(204, b""),
    "keys twice": http(200, b'{"ok":false,"ok":true,"data":{"cards":[]}}'),
    "keys twice inside": http(200, with_data(b'{"cards":[],"cards":[]}')),
    "NaN": http(200, with_data(b'{"cards":NaN,"cardId":NaN}')),
    "Infinity": http(200, with_data(b'{"cards":-Infinity,"cardId":-Infinity}')),
    "1e400": http(200, with_data(b'{"cards":1e400,"cardId":1e400}')),
    "10^5000": http(200, with_data(b'{"cardId":null,"cards":1' + b"0" * 5000 + b"}")),
    "65 levels": http(200, with_data(b'{"cards":' + b"[" * 65 + b"]" * 65 + b"}")),
    "100,000 levels": http(200, with_data(b"[" * 100_000)),
    "no UTF-8": http(200, with_data(b'{"cards":"\xff\xfe"}')),
    "UTF-16": http(200, OK.decode().encode("utf-16")),
    "a byte order mark": http(200, b"\xef\xbb\xbf" + OK),
    "a list": http(200, b"[" + OK + b"]"),
    "two documents": http(200, OK + OK),
    "ok of another type": http(200, b'{"ok":"true","data":{"cards":[]}}'),
    "no data": http(200, b'{"ok":true}'),
    "data of another type": http(200, with_data(b"[]")),
    "a lone surrogate": http(200, with_data(b'{"cards":[],"n":"\\ud800"}')),
    "gzip, said so": gzip_bomb(marked=True),
    "gzip, not said": gzip_bomb(marked=False),
    "wrong types": good({"cards": 5, "cardId": 7}),
    "a number of 400 digits for a text": http(200, with_data(b'{"cards":5,"cardId":1' + b"0" * 400 + b"}")),
}
"""A success status with an unreadable response."""

LOST: dict[str, Answer] = {
    "hung up": hang_up,
    "reset": reset,
    "half a head": then_close(lambda stream: stream.send(b"HTTP/1.1 200 X\r\nContent-")),
    "half a body": then_close(http(200, OK[:20], {"Content-Length": "500"})),
    "no HTTP": not_http,
    "headers without end": header_flood,
    "a head that is none": then_close(lambda stream: stream.send(b"HTTP/9.9 two hundred\r\n\r\n")),
}
"""The connection broke, or the response was not HTTP."""

SLOW: dict[str, Answer] = {
    "stall before headers": stall_for(DEADLINE),
    "drip of the head": drip_of_the_head,
    "drip of the body": drip(OK + b" " * 5000, 0.5),
    "stall in the body": stall_in_the_body,
    "preliminary answers without end": hints_flood,
}
"""No end within `DEADLINE`. They advance the loop's clock."""

LARGE: dict[str, Answer] = {"a gigabyte": gigabyte, "chunks without end": endless_chunks}

FAILING: dict[str, Answer] = {
    "500": refusal(500),
    "502 with HTML": http(502, b"<h1>Bad Gateway</h1>", {"Content-Type": "text/html"}),
    "503": refusal(503),
    "504 without a body": http(504, b""),
    "500 that speaks of success": http(500, OK),
}
"""A server or gateway error with an unknown effect."""

TURNED_AWAY: dict[str, Answer] = {
    "429": refusal(429),
    "429 with a time": refusal(429, headers={"Retry-After": "0"}),
    "429 with nonsense": refusal(429, headers={"Retry-After": "soon; or later"}),
    "429 with a date long past": refusal(429, headers={"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}),
    "429 with HTML": http(429, b"<h1>Slow down</h1>"),
}
"""No effect, and a repetition soon is allowed."""

TURNED_AWAY_FOR_LONG: dict[str, Answer] = {
    "429 with a day": refusal(429, headers={"Retry-After": DAY}),
    "429 with a million years": refusal(429, headers={"Retry-After": "31556952000000"[:9]}),
    "429 with a date far off": refusal(429, headers={"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}),
}
"""No effect, with a Retry-After longer than any caller waits."""

REFUSED: dict[str, Answer] = {
    "400": refusal(400),
    "403": refusal(403),
    "404": refusal(404),
    "409": refusal(409),
    "422": refusal(422),
    "418": refusal(418),
    "ok: false with 200": http(200, b'{"ok":false,"errors":[{"code":"no"}]}'),
}
"""No effect."""
