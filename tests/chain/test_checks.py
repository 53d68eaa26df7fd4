"""Each row of the table of checks fails if what it looks at is tampered with."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from machines_mcp.chain import evm
from machines_mcp.chain.checks import NAMES, Checks
from machines_mcp.chain.faults import ChainFault, CheckFailed, Expired, Malformed, Stale, Unsupported, WrongSignature
from machines_mcp.chain.terms import KnownChain
from tests.chain.answers import EXPIRY, PROXY, RECIPIENT, TARGET, TOKEN, parameters
from tests.chain.requests import (
    APPROVED,
    NONCE,
    RELAYED,
    SENDER,
    STRANGER,
    FakeChain,
    plan,
    relay,
    request,
    signed,
)

pytestmark = pytest.mark.anyio

ROWS: list[tuple[str, dict[str, Any]]] = [
    ("approved", {"consumed": False}),
    ("alive", {"now": float(EXPIRY)}),
    ("alive", {"now": EXPIRY + 1e9}),
    ("alive", {"expires_at": EXPIRY + 61}),
    ("alive", {"expires_at": "2025-01-01T00:01:01Z"}),
    ("alive", {"expires_at": str(EXPIRY - 61)}),
    ("alive", {"signature": None, "parameters": parameters(p4=EXPIRY + 3600)}),
    ("path", {"call_path": "coordinator_v3"}),
    ("path", {"rpc": FakeChain(**{"adminThreshold()": 2})}),
    ("target", {"call_target": PROXY}),
    ("target", {"call_target": PROXY, "coordinator_address": PROXY, "known": KnownChain(targets=frozenset({PROXY}))}),
    ("target", {"call_target": STRANGER}),
    ("target", {"call_target": STRANGER, "coordinator_address": STRANGER}),
    ("target", {"coordinator_address": None}),
    ("target", {"coordinator_address": None, "controller_address": TARGET}),
    ("target", {"collateral_proxy_address": STRANGER}),
    ("target", {"known": KnownChain(targets=frozenset({STRANGER}), tokens={TOKEN: 6})}),
    ("chain", {"known": KnownChain()}),
    ("token", {"parameters": parameters(p1=STRANGER)}),
    ("token", {"known": KnownChain(targets=frozenset({TARGET}), tokens={STRANGER: 6})}),
    ("token", {"known": KnownChain(targets=frozenset({TARGET}), tokens={STRANGER: 6}), "rpc": None, "given_nonce": 1}),
    ("token", {"rpc": FakeChain(**{"decimals()": 18})}),
    ("amount", {"parameters": parameters(p2="10050")}),
    ("amount", {"parameters": parameters(p2="10050000000")}),
    ("amount", {"parameters": parameters(p2="100500001")}),
    ("amount", {"known": KnownChain(targets=frozenset({TARGET})), "rpc": FakeChain(**{"decimals()": 18})}),
    ("amount", {"known": KnownChain(targets=frozenset({TARGET})), "rpc": FakeChain(**{"decimals()": 1})}),
    ("amount", {"known": None, "rpc": None, "given_nonce": NONCE, "parameters": parameters(p2="10050000000")}),
    ("recipient", {"parameters": parameters(p3=STRANGER)}),
    ("recipient", {"approved": dataclasses.replace(APPROVED, address=STRANGER)}),
    ("recipient", {"approved": dataclasses.replace(APPROVED, extra_id="7")}),
    ("recipient", {"approved": RELAYED, "relay": relay(payin_address=STRANGER)}),
    ("recipient", {"approved": RELAYED, "relay": relay(payin_address=None)}),
    ("recipient", {"approved": RELAYED, "relay": relay(payin_extra_id="9")}),
    ("recipient", {"approved": RELAYED, "relay": relay(payout_address="rrrrrrrrrrrrrrrrrrrrBZbvji")}),
    ("recipient", {"approved": RELAYED, "relay": relay(payout_address=None)}),
    ("recipient", {"approved": RELAYED, "relay": relay(payout_extra_id=None)}),
    ("recipient", {"approved": RELAYED, "relay": relay(payout_extra_id="8")}),
    ("recipient", {"approved": RELAYED, "relay": relay(to_currency="xlm")}),
    ("recipient", {"approved": RELAYED, "relay": relay(to_network="stellar")}),
    ("recipient", {"approved": RELAYED, "relay": relay(to_network=None)}),
    ("recipient", {"approved": RELAYED}),
    ("recipient", {"approved": RELAYED, "relay": relay(from_currency="xrp", from_network="XRP")}),
    ("recipient", {"relay": relay()}),
    ("admin", {"approved": dataclasses.replace(APPROVED, admin_address=STRANGER)}),
    ("admin", {"approved": dataclasses.replace(APPROVED, admin_address=None)}),
    ("admin", {"rpc": FakeChain(**{"isAdmin(address)": 0})}),
    ("nonce", {"signed_nonce": NONCE - 1}),
    ("nonce", {"rpc": None}),
    ("signature", {"signature": bytes(65)}),
    ("signature", {"signature": b"\1" * 65}),
]

FAULTS = {"alive": Expired, "path": Unsupported, "nonce": Stale, "signature": WrongSignature}


async def test_the_untampered_request_passes() -> None:
    assert (await plan(request(), FakeChain())).not_verified == ()


@pytest.mark.parametrize(("check", "changed"), ROWS)
async def test_a_tampered_request_has_no_plan(check: str, changed: dict[str, Any]) -> None:
    given = {"rpc": FakeChain(), **changed}
    rpc = given.pop("rpc")
    with pytest.raises(ChainFault) as refused:
        await plan(request(**given), rpc)
    fault = refused.value
    if isinstance(fault, CheckFailed):
        assert fault.check == check
        assert fault.expected
    else:
        assert type(fault) is FAULTS[check]
    for value in (SENDER, STRANGER, RECIPIENT, PROXY, TOKEN, "100500000"):
        assert value not in f"{fault} {getattr(fault, 'expected', '')}"


@pytest.mark.parametrize("path", ["controller_v1", "coordinator_v2"])
async def test_calldata_that_says_something_else_has_no_plan(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await plan(request(path), FakeChain())
    signature = None if first.typed_data is None else signed(first.typed_data)
    real = evm.calldata

    def other(order: Any, *rest: Any) -> bytes:
        return real(dataclasses.replace(order, recipient=STRANGER), *rest)

    monkeypatch.setattr(evm, "calldata", other)
    with pytest.raises(CheckFailed) as refused:
        await plan(request(path, signature=signature), FakeChain())
    assert refused.value.check == "calldata"


REASONS = [
    ("08c379a0" + f"{32:064x}" + f"{12:064x}" + b"Unauthorized".hex().ljust(64, "0"), "is not an admin"),
    ("08c379a0" + f"{32:064x}" + f"{17:064x}" + b"Expired signature".hex().ljust(64, "0"), "has expired"),
    ("08c379a0" + f"{32:064x}" + f"{6:064x}" + b"canary".hex().ljust(64, "0"), "without a reason that is known"),
    ("8baa579f", "does not fit the arguments"),
    ("", "without a reason that is known"),
    ("deadbeef", "without a reason that is known"),
]


@pytest.mark.parametrize(("returned", "reason"), REASONS)
async def test_a_call_that_would_revert_has_no_plan(returned: str, reason: str) -> None:
    rpc = FakeChain()
    rpc.accepts, rpc.reason = lambda data: False, bytes.fromhex(returned)
    first = await plan(request(), rpc)
    assert first.typed_data is not None
    for given in (request("controller_v1"), request(signature=signed(first.typed_data))):
        with pytest.raises(CheckFailed) as refused:
            await plan(given, rpc)
        assert refused.value.check == "simulated"
        assert reason in refused.value.expected
        assert "canary" not in refused.value.expected


def test_every_check_has_a_row() -> None:
    assert {check for check, _ in ROWS} | {"calldata", "simulated"} == set(NAMES)


@pytest.mark.parametrize("value", ["soon", "2025-13-01T00:00:00Z", [], True, {}, "9" * 400])
async def test_a_time_that_can_not_be_read_is_malformed(value: Any) -> None:
    for position, given in (
        ("expiresAt", request(expires_at=value)),
        ("signature.expiresAt", request(answer={**request().answer, "signature": {"expiresAt": value}})),
    ):
        with pytest.raises(Malformed) as refused:
            await plan(given, FakeChain())
        assert refused.value.position == position


@pytest.mark.parametrize("value", [None, EXPIRY, EXPIRY + 60, str(EXPIRY - 60), "2025-01-01T01:00:00+01:00"])
async def test_times_that_agree_within_a_minute_are_alive(value: Any) -> None:
    assert "alive" in (await plan(request(expires_at=value), FakeChain())).verified


async def test_a_relay_of_another_kind_is_malformed() -> None:
    with pytest.raises(Malformed) as refused:
        await plan(request(relay="none"), FakeChain())
    assert refused.value.position == "relay"


def test_a_check_holds_only_if_all_its_parts_do() -> None:
    checks = Checks(production=False)
    for holds in (True, None, True):
        checks.require("token", holds, "")
    checks.require("admin", None, "")
    checks.require("alive", True, "")
    assert (checks.verified, checks.not_verified) == (("alive",), ("token", "admin"))
    with pytest.raises(CheckFailed):
        checks.require("alive", False, "")


@pytest.mark.parametrize("check", NAMES)
def test_in_production_the_policy_must_name_what_no_read_can_replace(check: str) -> None:
    strict = Checks(production=True)
    if check in ("chain", "target", "token", "amount"):
        with pytest.raises(CheckFailed):
            strict.require(check, None, "")
    else:
        strict.require(check, None, "")
        assert strict.not_verified == (check,)
