"""Credentials are sent only to their host, over valid TLS.

Unknown authorities and name mismatches are tested in tests/partner/test_endpoint.py, redirects over plain HTTP in
tests/partner/test_transport.py.
"""

from __future__ import annotations

import gc
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient, connections, errors, retries
from machines_mcp.redaction.secret import Secret
from tests.support.certificates import DAY, HOUR, MINUTES, Authority
from tests.support.loopback import serve_connections
from tests.support.partner_upstream import PARTNER_KEY, ScriptedUpstream, good, http, upstream
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_socket_is_left_to_a_later_test() -> Iterator[None]:
    """Collect connections that httpcore abandons during a handshake and leaves to the garbage collector."""
    yield
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


USER = "user-1"
HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def without_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry as often as usual, without pauses."""
    monkeypatch.setattr(retries, "_PAUSES", (0.0,) * (retries.ATTEMPTS - 1))


def client_of(base_url: str, certificates: str) -> PartnerClient:
    return PartnerClient(base_url, Secret(PARTNER_KEY), ca_certificates=certificates, deadline=PATIENCE)


@asynccontextmanager
async def recording_port() -> AsyncIterator[tuple[int, bytearray]]:
    """Listen on a port and record what arrives."""
    heard = bytearray()

    async def listen(stream: ByteStream) -> None:
        while True:
            heard.extend(await stream.receive())

    async with serve_connections(listen, host=HOST) as port:
        yield port, heard


@pytest.mark.parametrize(("since", "until"), [(-DAY, -MINUTES), (HOUR, DAY)], ids=["expired", "not valid yet"])
async def test_expired_or_future_certificate_gets_no_key(tmp_path: Path, since: timedelta, until: timedelta) -> None:
    authority = Authority(tmp_path)
    async with upstream(authority.server(HOST, since=since, until=until)) as api:
        async with client_of(api.base_url, authority.certificates) as client:
            with anyio.fail_after(PATIENCE), pytest.raises(errors.Unreachable) as caught:
                await client.cards.create(USER)
        assert caught.value.outcome_known
        assert api.seen == []


async def test_certificate_that_becomes_invalid_between_calls_gets_no_token(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with upstream(authority.server(HOST)) as api, upstream(authority.server("example.com")) as other:
        async with client_of(api.base_url, authority.certificates) as client:
            await client.sessions.open(USER, ["cards.write"])
            # The address now leads elsewhere, like a hijacked name.
            client._transport._endpoint.url = other.base_url
            with anyio.fail_after(PATIENCE), pytest.raises(errors.Unreachable):
                await client.cards.create(USER)
        assert other.seen == []


async def test_server_without_tls_gets_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_CONNECT", 0.3)
    authority = Authority(tmp_path)
    async with (
        recording_port() as (port, heard),
        client_of(f"https://{HOST}:{port}/partner/v1", authority.certificates) as client,
    ):
        # It waits for the rest of a handshake that never comes.
        with anyio.fail_after(PATIENCE), pytest.raises(errors.Unreachable):
            await client.sessions.open(USER, ["cards.read"])
    assert not heard or heard[0] == 0x16, "only a TLS handshake may be sent"
    assert PARTNER_KEY.encode() not in heard


async def test_server_with_an_obsolete_tls_version_gets_no_key(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old = authority.server(HOST)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with upstream(old) as api, client_of(api.base_url, authority.certificates) as client:
        with anyio.fail_after(PATIENCE), pytest.raises(errors.Unreachable):
            await client.sessions.open(USER, ["cards.read"])
        assert api.seen == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "https"], ids=["to plain HTTP", "to another host"])
async def test_redirect_out_of_tls_gets_no_credentials(tmp_path: Path, status: int, scheme: str) -> None:
    authority = Authority(tmp_path)
    async with recording_port() as (port, heard), upstream(authority.server(HOST)) as api:
        async with client_of(api.base_url, authority.certificates) as client:
            await client.sessions.open(USER, ["cards.read", "cards.write"])
            there = {"Location": f"{scheme}://{HOST}:{port}/partner/v1/cards"}
            for method in ("GET", "POST"):
                api.on(method, "/cards", http(status, b"", there))
            with pytest.raises(errors.Redirected):
                await client.cards.list(USER)
            with pytest.raises(errors.Redirected) as caught:
                await client.cards.create(USER)
        assert not caught.value.outcome_known
        assert len(api.calls) == 2
        assert not heard


@pytest.mark.parametrize(
    "headers",
    [
        {"Refresh": "0; url=http://127.0.0.1:{port}/"},
        {"Alt-Svc": 'h2="127.0.0.1:{port}"; ma=3600'},
        {"Link": "<http://127.0.0.1:{port}/>; rel=next"},
        {"Content-Location": "http://127.0.0.1:{port}/"},
        {"Proxy-Authenticate": "Basic", "Location": "http://127.0.0.1:{port}/"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_response_headers_redirect_nothing(api: ScriptedUpstream, headers: dict[str, str]) -> None:
    async with recording_port() as (port, heard):
        named = {name: value.format(port=port) for name, value in headers.items()}
        api.on("GET", "/cards", good({"cards": []}, headers=named))
        async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE) as client:
            for _ in range(2):
                assert (await client.cards.list(USER)).cards == ()
        assert not heard
