from __future__ import annotations

import subprocess
import sys

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient, connections, errors, retries
from machines_mcp.partner.endpoint import Endpoint
from machines_mcp.redaction.secret import Secret
from tests.support.certificates import Authority
from tests.support.loopback import serve_connections
from tests.support.partner_upstream import (
    DEADLINE,
    PARTNER_KEY,
    Answer,
    ScriptedUpstream,
    good,
    hang_up,
    http,
    not_http,
    stall_for,
    upstream,
)
from tests.support.waiting import PATIENCE

HOST = "partner.test"
BALANCES = {"spendingPower": 1, "creditLimit": 1, "pendingCharges": 0, "postedCharges": 0, "balanceDue": 0}


@pytest.mark.parametrize(
    "url",
    [
        "https://api.machines.cash/partner/v1",
        "https://dev-api.machines.cash/partner/v1/",
        "https://api.machines.cash:8443/partner/v1",
        "http://127.0.0.1:8080/partner/v1",
        "http://127.8.9.1/partner/v1",
        "http://[::1]:8080/partner/v1",
        "http://localhost:8080/partner/v1",
        "https://[2001:db8::1]/v1",
    ],
)
def test_https_and_loopback_addresses_are_accepted(url: str) -> None:
    assert Endpoint(url).url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.machines.cash",
        "http://api.machines.cash/partner/v1",
        "http://10.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0.0.0.0/",
        "http://127.0.0.1:65536/",
        "http://[::]/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "http://127.0.0.1\\@example.com/",
        "http://127.0.0.1#@example.com/",
        "http://127.0.0.1?@example.com/",
        "https://user:password@api.machines.cash/",
        "https://api.machines.cash/?a=b",
        "https://api.machines.cash/#a",
        "https://api.machines.cash/%2e%2e",
        "https://api.machines.cash/a b",
        "https://api.machines.cash\n/",
        "https://api.machines.cash/\r\nX: y",
        "HTTPS://api.machines.cash/",
        "ftp://api.machines.cash/",
        "file:///etc/passwd",
        "//api.machines.cash/",
        "https:///partner",
        "https://аpi.machines.cash/",  # noqa: RUF001
    ],
)
def test_other_or_ambiguous_addresses_are_rejected_without_quoting_them(url: str) -> None:
    with pytest.raises(ValueError, match=r"^the base URL must be https://host\[:port\]/path, or http:// on loopback$"):
        Endpoint(url)


@pytest.mark.parametrize("proxy", ["", "127.0.0.1:3128", "socks5://127.0.0.1", "http://a b", "http://"])
def test_proxy_that_is_not_http_is_rejected_without_quoting_it(proxy: str) -> None:
    with pytest.raises(ValueError, match=r"^the proxy must be an http or https URL$"):
        Endpoint("https://api.machines.cash", proxy=proxy)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://localhost:1", "http://[::1]"])
def test_loopback_bypasses_the_proxy(url: str) -> None:
    assert Endpoint(url, proxy="http://proxy.example:3128").proxy is None


def test_plain_http_loads_no_certificates() -> None:
    assert Endpoint("http://127.0.0.1:1").tls().cert_store_stats()["x509"] == 0
    assert Endpoint("http://127.0.0.1:1").tls().verify_mode.name == "CERT_REQUIRED"


@pytest.mark.check
def test_importing_the_client_loads_nothing_heavy() -> None:
    code = (
        "import sys, machines_mcp.partner, machines_mcp.partner.client\n"
        "heavy = 'httpx httpcore h11 truststore certifi cryptography rich click'\n"
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.check
def test_importing_the_package_loads_no_models() -> None:
    code = "import sys, machines_mcp.partner.errors; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def ask(url: str, *, proxy: str | None = None, ca: str | None = None) -> int | None:
    async with PartnerClient(url, Secret(PARTNER_KEY), proxy=proxy, ca_certificates=ca, deadline=PATIENCE) as client:
        with anyio.fail_after(PATIENCE):
            return (await client.balances.get("user-1")).spending_power


@pytest.mark.anyio
async def test_certificate_of_the_configured_authority_is_trusted(authority: Authority) -> None:
    async with upstream(authority.server("127.0.0.1")) as api:
        api.on("GET", "/balances", good({"balances": BALANCES}))
        assert await ask(api.base_url, ca=authority.certificates) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(("host", "trusted"), [("127.0.0.1", False), ("127.0.0.2", True), ("example.com", True)])
async def test_untrusted_or_mismatched_certificate_gets_no_key(
    authority: Authority, host: str, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_PAUSES", (0.0,) * (retries.ATTEMPTS - 1))
    async with upstream(authority.server(host)) as api:
        with pytest.raises(errors.Unreachable):
            await ask(api.base_url, ca=authority.certificates if trusted else None)
        assert api.seen == []


@pytest.mark.anyio
@pytest.mark.parametrize("content", ["", "not a certificate"])
async def test_unusable_certificates_are_reported_before_sending(content: str) -> None:
    with pytest.raises(errors.Unreachable) as caught:
        await ask("https://partner.test/partner/v1", ca=content)
    assert caught.value.code == "ca_file"
    assert caught.value.__context__ is None


class Proxy:
    """An HTTP proxy that supports CONNECT to one host."""

    def __init__(self, api: ScriptedUpstream) -> None:
        self._api = api
        self.url = ""
        self.heads: list[bytes] = []
        self.carried = b""

    async def serve(self, stream: ByteStream) -> None:
        self.heads.append(await stream.receive())
        async with (
            await anyio.connect_tcp("127.0.0.1", self._api.port) as onward,
            anyio.create_task_group() as group,
        ):
            await stream.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            group.start_soon(self._carry, stream, onward)
            await self._carry(onward, stream)
            group.cancel_scope.cancel()

    async def _carry(self, source: ByteStream, target: ByteStream) -> None:
        try:
            async for chunk in source:
                self.carried += chunk
                await target.send(chunk)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


@pytest.mark.anyio
async def test_proxy_carries_encrypted_traffic(authority: Authority) -> None:
    async with upstream(authority.server(HOST)) as api:
        api.on("GET", "/balances", good({"balances": BALANCES}))
        proxy = Proxy(api)
        async with serve_connections(proxy.serve) as port:
            url = f"http://127.0.0.1:{port}"
            answer = await ask(f"https://{HOST}/partner/v1", proxy=url, ca=authority.certificates)
    assert answer == 1
    assert {head.split(b"\r\n")[0] for head in proxy.heads} == {b"CONNECT partner.test:443 HTTP/1.1"}
    assert PARTNER_KEY.encode() not in b"".join(proxy.heads) + proxy.carried
    assert len(api.seen) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (stall_for(DEADLINE), errors.TimedOut),
        (hang_up, errors.Unreachable),
        (not_http, errors.Unreachable),
        (http(407, b""), errors.Unreachable),
        (http(502, b""), errors.Unreachable),
    ],
    ids=["says nothing", "hangs up", "speaks no HTTP", "requires a password", "can't connect"],
)
async def test_mutation_blocked_by_a_proxy_was_not_sent(
    answer: Answer, kind: type[errors.PartnerError], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(stream: ByteStream) -> None:
        await stream.receive()
        await answer(stream)

    monkeypatch.setattr(retries, "_PAUSES", (0.0,) * (retries.ATTEMPTS - 1))
    # The deadline ends the call, not a timeout of one step.
    monkeypatch.setattr(connections, "_CONNECT", 10 * DEADLINE)
    monkeypatch.setattr(connections, "_READ", 10 * DEADLINE)
    async with serve_connections(refuse) as port:
        proxy = f"http://127.0.0.1:{port}"
        client = PartnerClient(f"https://{HOST}/partner/v1", Secret(PARTNER_KEY), proxy=proxy, deadline=DEADLINE)
        async with client:
            with anyio.fail_after(PATIENCE), pytest.raises(errors.PartnerError) as caught:
                await client.users.resolve("user-1")
    assert type(caught.value) is kind
    assert caught.value.outcome_known
