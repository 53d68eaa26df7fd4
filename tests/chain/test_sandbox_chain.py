"""Withdrawals of the sandbox on its chains: the balance moves once, and the ledger follows the event."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)

from machines_mcp.sandbox import ledger, settlement, users
from machines_mcp.sandbox.chain.key import Key
from machines_mcp.sandbox.contracts import contracts_of
from machines_mcp.sandbox.state import State
from tests.chain.sandbox_chain import BASE, ETHEREUM, RECIPIENT, ChainCaller
from tests.support.running_sandbox import in_thread
from tests.support.sandbox_caller import SandboxClient, User

UNITS_PER_CENT = 10_000
OTHER = Key(f"0x{77:064x}")
CHAINS = (BASE, ETHEREUM)


@pytest.fixture(scope="module")
def chain() -> Iterator[ChainCaller]:
    with in_thread(chain=True) as started:
        caller = ChainCaller(started)
        yield caller
        caller.close()


def power(user: User) -> int:
    """Return the spending power in cents."""
    return user.balances()["spendingPower"]


def entries(user: User) -> list[int]:
    """Return the amounts of the ledger's collateral entries, the newest first."""
    found = user.call("GET", "/transactions", query={"type": "collateral"}).data["transactions"]
    return [entry["amountCents"] for entry in found]


@pytest.mark.parametrize("form", ["base64", "hex", "bytes"])
@pytest.mark.parametrize("network", CHAINS)
def test_transaction_moves_the_balance_once_and_the_ledger_follows(chain: ChainCaller, network: int, form: str) -> None:
    user = chain.partner.funded_user(100)
    chain.partner.control("/salts", {"form": form})
    data = chain.withdraw(user, 1000, network)
    chain.partner.control("/salts", {"form": "base64"})
    order = chain.order(data)
    before = chain.balance(order.collateral, network), chain.balance(RECIPIENT, network)
    assert power(user) == 9000
    assert chain.send(order)
    moved = 1000 * UNITS_PER_CENT
    assert (chain.balance(order.collateral, network), chain.balance(RECIPIENT, network)) == (
        before[0] - moved,
        before[1] + moved,
    )
    assert (power(user), entries(user)) == (9000, [-1000, 10_000])
    assert not chain.send(order)
    assert (power(user), entries(user)) == (9000, [-1000, 10_000])
    assert chain.balance(RECIPIENT, network) == before[1] + moved
    # The hold ended: the control has nothing left to execute, and the next signature does not wait.
    assert chain.partner.raw("POST", "/control/withdrawals", json={"userId": user.user_id}).status_code == 404
    assert chain.withdraw(user, 2000, network)["status"] == "ready"


@pytest.mark.parametrize("network", CHAINS)
@pytest.mark.parametrize("change", [{"amount": 1}, {"recipient": OTHER.address}, {"expires_at": 4_000_000_000}])
def test_changed_transaction_reverts_and_leaves_the_withdrawal_live(
    chain: ChainCaller, network: int, change: dict[str, Any]
) -> None:
    user = chain.partner.funded_user(100)
    order = chain.order(chain.withdraw(user, 1000, network))
    assert not chain.send(replace(order, **change))
    assert (power(user), entries(user)) == (9000, [10_000])
    assert chain.send(order)
    assert entries(user) == [-1000, 10_000]


@pytest.mark.parametrize("network", CHAINS)
def test_control_sends_a_transaction_of_the_own_wallet(chain: ChainCaller, network: int) -> None:
    user = chain.partner.funded_user(100)
    order = chain.order(chain.withdraw(user, 1000, network))
    before = int(chain.rpc("eth_getTransactionCount", chain.key.address, "latest", chain=network), 16)
    received = chain.balance(RECIPIENT, network)
    assert chain.partner.control("/withdrawals", {"userId": user.user_id})["amountCents"] == 1000
    assert int(chain.rpc("eth_getTransactionCount", chain.key.address, "latest", chain=network), 16) == before + 1
    assert chain.balance(RECIPIENT, network) == received + 1000 * UNITS_PER_CENT
    assert (power(user), entries(user)) == (9000, [-1000, 10_000])
    assert not chain.send(order)
    assert entries(user) == [-1000, 10_000]


@pytest.mark.parametrize("network", CHAINS)
def test_linked_wallet_is_the_admin_and_control_voids_its_signature(chain: ChainCaller, network: int) -> None:
    user = chain.partner.funded_user(100)
    wallet = {"chain": "evm", "address": OTHER.address.lower()}
    chain.partner.partner("/users/resolve", {"externalUserId": user.user_id, "wallet": wallet})
    order = chain.order(chain.withdraw(user, 1000, network))
    assert chain.read(order.collateral, "isAdmin(address)", OTHER.address, chain=network) == 1
    assert chain.read(order.collateral, "isAdmin(address)", chain.key.address, chain=network) == 0
    assert not chain.send(order)
    assert chain.send(order, OTHER)
    assert entries(user) == [-1000, 10_000]

    order = chain.order(chain.withdraw(user, 2000, network))
    received = chain.balance(RECIPIENT, network)
    assert chain.partner.control("/withdrawals", {"userId": user.user_id})["amountCents"] == 2000
    assert chain.balance(RECIPIENT, network) == received + 2000 * UNITS_PER_CENT
    assert not chain.send(order, OTHER)
    assert (power(user), entries(user)) == (7000, [-2000, -1000, 10_000])


def test_named_admin_of_a_user_without_a_wallet_can_send(chain: ChainCaller) -> None:
    user = chain.partner.funded_user(100)
    order = chain.order(chain.withdraw(user, 1000, adminAddress=OTHER.address))
    assert chain.send(order, OTHER)
    # Only the first of them is an admin.
    order = chain.order(chain.withdraw(user, 1000, adminAddress=chain.key.address))
    assert not chain.send(order)
    assert chain.partner.raw("POST", "/control/withdrawals", json={"userId": user.user_id}).status_code == 409
    assert entries(user) == [-1000, 10_000]


def test_deposit_is_minted_when_it_completes(chain: ChainCaller) -> None:
    user = chain.partner.ready_user()
    for currency, network, chain_id in (("rusd", "base", BASE), ("usdc", "ethereum", ETHEREUM)):
        asked = {"currency": currency, "network": network}
        proxy = user.call("POST", "/deposits/range", asked).data["range"]["payoutAddress"]
        deposit = user.call("POST", "/deposits", asked | {"amount": 30}).data["deposit"]
        assert chain.balance(proxy, chain_id) == 0
        chain.partner.control("/deposits", {"depositId": deposit["id"]})
        assert chain.balance(proxy, chain_id) == 3000 * UNITS_PER_CENT
        assert chain.balance(proxy, chain_id) == 3000 * UNITS_PER_CENT
    assert power(user) == 6000
    # The ledger is one pot: the rest of the amount comes from the other contract.
    order = chain.order(chain.withdraw(user, 5000, BASE))
    assert chain.balance(order.collateral) == 5000 * UNITS_PER_CENT
    assert chain.balance(proxy, ETHEREUM) == 1000 * UNITS_PER_CENT
    assert chain.send(order)
    assert power(user) == 1000


def test_deposit_is_minted_once_within_one_tick_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On some systems the clock advances by 16 ms at a time."""
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    state = State.open(None, make_chains=settlement.make_chains)
    with closing(state.db):
        now = state.clock.now()
        user = users.link(state, "somebody", None)
        for number in (1, 2):
            entry_id = ledger.enter(state, user.user_id, "collateral", 1000, at=now)
            columns = {"created_at": now, "completes_at": now, "currency": "rusd", "network": "base", "address": "0x1"}
            state.insert("deposits", deposit_id=f"deposit-{number}", user_id=user.user_id, entry_id=entry_id, **columns)
            settlement.sync(state)
            settlement.sync(state)
            contract, *_ = contracts_of(user)
            assert state.chains is not None
            found = state.chains.deployments[BASE].balance(contract.proxy)
            assert found == number * 1000 * UNITS_PER_CENT


def test_older_file_without_a_chain_gets_one(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.db"
    with in_thread(file) as started:
        plain = SandboxClient(started)
        user = plain.funded_user(100)
        body = {"amountCents": 1000, "destination": {"currency": "rusd", "network": "base", "address": RECIPIENT}}
        for key in ("executed", "not executed"):
            headers = {"Idempotency-Key": f"withdrawal {key}"}
            for _ in range(2):
                data = user.call("POST", "/withdrawals", body, headers=headers).data
            if key == "executed":
                plain.control("/withdrawals", {"userId": user.user_id})
        plain.close()
    with in_thread(file, chain=True) as started:
        chain = ChainCaller(started)
        user = User(user.user_id, chain.partner.session(user.user_id), chain.partner)
        proxy = data["parameters"][0]
        assert (chain.balance(proxy), chain.balance(RECIPIENT)) == (9000 * UNITS_PER_CENT, 1000 * UNITS_PER_CENT)
        # That signature is random, so only the control can use it.
        assert not chain.send(chain.order(data))
        assert chain.partner.control("/withdrawals", {"userId": user.user_id})["amountCents"] == 1000
        assert (chain.balance(proxy), power(user)) == (8000 * UNITS_PER_CENT, 8000)
        assert chain.send(chain.order(chain.withdraw(user, 500)))
        chain.close()


def test_expired_signature_moves_nothing(chain: ChainCaller) -> None:
    user = chain.partner.funded_user(100)
    order = chain.order(chain.withdraw(user, 1000))
    held = chain.balance(order.collateral)
    chain.partner.control("/clock", {"advanceSeconds": 1800})
    assert not chain.send(order)
    user = User(user.user_id, chain.partner.session(user.user_id), chain.partner)
    assert (power(user), chain.balance(order.collateral)) == (10_000, held)
    assert entries(user) == [10_000]


def test_reset_begins_the_chains_anew() -> None:
    with in_thread(chain=True) as started:
        chain = ChainCaller(started)
        user = chain.partner.funded_user(100)
        order = chain.order(chain.withdraw(user, 1000))
        assert chain.send(order)
        chain.partner.control("/reset", {})
        assert (chain.balance(order.collateral), chain.balance(RECIPIENT)) == (0, 0)
        assert chain.rpc("eth_getCode", order.collateral, "latest") == "0x"
        again = chain.partner.funded_user(50)
        assert chain.send(chain.order(chain.withdraw(again, 1000)))
        chain.close()


def test_restart_rebuilds_money_admins_and_nonces(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.db"
    with in_thread(file, chain=True) as started:
        chain = ChainCaller(started)
        user = chain.partner.funded_user(100)
        for network in (BASE, ETHEREUM, BASE):
            assert chain.send(chain.order(chain.withdraw(user, 1000, network)))
        # Signed and not sent.
        live = chain.order(chain.withdraw(user, 500, ETHEREUM))
        facts = chain_facts(chain, user)
        key = chain.key.secret
        chain.close()
    with in_thread(file, chain=True) as started:
        chain = ChainCaller(started)
        user = User(user.user_id, chain.partner.session(user.user_id), chain.partner)
        assert chain.key.secret == key
        assert chain_facts(chain, user) == facts
        assert {2, 1} <= set(facts)
        assert chain.send(live)
        assert entries(user) == [-500, -1000, -1000, -1000, 10_000]
        assert power(user) == 6500
        chain.close()


def chain_facts(chain: ChainCaller, user: User) -> list[int]:
    """Return what a restart keeps: the user's money, admins and nonces on both chains."""
    found = []
    for network, (currency, name) in {BASE: ("rusd", "base"), ETHEREUM: ("usdc", "ethereum")}.items():
        asked = {"currency": currency, "network": name}
        proxy = user.call("POST", "/deposits/range", asked).data["range"]["payoutAddress"]
        (target,) = chain.sandbox.chains[str(network)]["targets"]
        found += [chain.balance(proxy, network), chain.balance(RECIPIENT, network)]
        found.append(chain.read(proxy, "isAdmin(address)", chain.key.address, chain=network))
        nonce = (proxy, "adminNonce()") if network == BASE else (target, "nonce(address)", proxy)
        found.append(chain.read(*nonce, chain=network))
        found.append(int(chain.rpc("eth_getTransactionCount", chain.key.address, "latest", chain=network), 16))
    return found
