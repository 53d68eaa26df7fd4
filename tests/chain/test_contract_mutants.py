"""Each check of the contracts, removed in turn: an attack gets through, or a withdrawal in order fails."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)

from machines_mcp.sandbox.chain.artifacts import CONTRACTS
from machines_mcp.sandbox.chain.evm import Failed
from tests.chain.attacks import attacks
from tests.chain.compiler import compiled
from tests.chain.contract_world import World

pytestmark = pytest.mark.check

VERSIONS = {"controller": (1,), "coordinator": (2,), "collateral": (2, 1), "token": (2,)}
# A check, or the count that ends the life of a signature.
_CHECK = re.compile(r"^    (    )?(assert .*|self\.(adminNonce|nonce\[collateral\]) \+= 1)$", re.MULTILINE)
# A value in what is signed: whoever signs another one must not be believed.
_SIGNED = re.compile(r"abi_encode\(WITHDRAW, (?P<values>[^)]*)\)")


def checks() -> Iterator[tuple[str, str]]:
    """Yield the contract and the text of each check."""
    for path in sorted(CONTRACTS.glob("*.vy")):
        for found in _CHECK.finditer(path.read_text(encoding="utf-8")):
            yield path.stem, found[2]


def changed(contract: str, source: str) -> dict[str, bytes]:
    """Return the code of a changed contract."""
    return {contract: bytes.fromhex(compiled({contract: source})[contract]["runtime"].removeprefix("0x"))}


def through(contract: str, codes: dict[str, bytes]) -> Iterator[str]:
    """Yield the attacks that get through. A withdrawal in order goes through before each."""
    for version in VERSIONS[contract]:
        for name, attack in attacks(version).items():
            world = World(version, codes)
            assert world.send(world.signed()).succeeded
            try:
                if attack(world).succeeded:
                    yield name
            except Failed:
                # The attack spoiled what comes after it, such as the owner's own call.
                yield name


def test_unchanged_contracts_hold() -> None:
    for contract in ("collateral", "token"):
        assert list(through(contract, {})) == []


def test_all_checks_are_found() -> None:
    """The nine that guard the money, among the others."""
    found = list(checks())
    assert len(found) == len(set(found)) + 3, "three of them stand twice"
    for contract, part in (
        ("controller", "signer == self.controllerAdmin"),
        ("coordinator", "signer == self.executor"),
        ("collateral", "self.isAdmin[signer]"),
        ("controller", "self.nonce[collateral] += 1"),
        ("collateral", "self.adminNonce += 1"),
        ("controller", "block.timestamp < expires_at"),
        ("coordinator", "block.timestamp < expires_at"),
        ("controller", "isAdmin(msg.sender)"),
        ("coordinator", "isAdmin(msg.sender)"),
    ):
        assert any(name == contract and part in check for name, check in found)


@pytest.mark.parametrize(("contract", "check"), sorted(set(checks())))
def test_removed_check_lets_an_attack_through(contract: str, check: str) -> None:
    source = (CONTRACTS / f"{contract}.vy").read_text(encoding="utf-8")
    for place in re.finditer(re.escape(check), source):
        codes = changed(contract, f"{source[: place.start()]}pass{source[place.end() :]}")
        assert next(through(contract, codes), None) is not None


@pytest.mark.parametrize("contract", ["controller", "coordinator", "collateral"])
def test_value_left_out_of_what_is_signed_fails_a_withdrawal(contract: str) -> None:
    source = (CONTRACTS / f"{contract}.vy").read_text(encoding="utf-8")
    found = _SIGNED.search(source)
    assert found is not None
    values = found["values"].split(", ")
    assert len(values) == (5 if contract == "collateral" else 7)
    for index, value in enumerate(values):
        number = value in ("amount", "nonce", "self.adminNonce", "self.nonce[collateral]", "expires_at")
        other = [*values[:index], "empty(uint256)" if number else "empty(address)", *values[index + 1 :]]
        text = source.replace(found["values"], ", ".join(other))
        # A nonce of zero is right the first time, so it takes a second withdrawal.
        world = World(VERSIONS[contract][0], changed(contract, text))
        assert [world.send(world.signed()).succeeded for _ in range(2)] != [True, True], value
