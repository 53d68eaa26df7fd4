from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.permissions.chain_entry import ChainEntry
from machines_mcp.permissions.policy import Policy, PolicyError, default_policy
from machines_mcp.permissions.policy_loader import load_policy

TARGET = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
TOKEN = "0x10b5Be494C2962A7B318aFB63f0Ee30b959D000b"
PROGRAM = "HaJ8CaGUJ1w8CjqM2cvaMtTNXSZFhwtmKHeRkYBvEGjj"
CHAIN = f'[chain.84532]\ntargets = ["{TARGET}"]\n'
TOKENS = f'[[chain.84532.tokens]]\naddress = "{TOKEN}"\ndecimals = 6\n'


def load(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.toml"
    path.write_text(f'version = 1\nenvironment = "embedded"\nusers = "any"\n{text}', encoding="utf-8")
    path.chmod(0o600)
    given: dict[str, Any] = {"read_only": False, "tools": {}, "thumbprint": str}
    return load_policy(path, "embedded", **given)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, text)
    return str(caught.value)


def test_a_policy_without_chains_has_none_and_its_old_digest(tmp_path: Path) -> None:
    policy = load(tmp_path, "")
    assert dict(policy.chains) == {}
    # As of a version that did not know the key.
    assert policy.digest == "1eabddb9761ac82c3caac66b0358b8c4a2d836a748331c4fec5079f9b9f79a7c"
    assert dict(default_policy("embedded", read_only=False).chains) == {}


def test_chains_are_loaded_by_id_with_addresses_in_one_form(tmp_path: Path) -> None:
    solana = f'[chain.901]\ntargets = ["{PROGRAM}"]\ntokens = [{{ address = "{PROGRAM}", decimals = 6 }}]\n'
    policy = load(tmp_path, CHAIN + TOKENS + solana)
    assert dict(policy.chains) == {
        84532: ChainEntry(frozenset({TARGET.lower()}), {TOKEN.lower(): 6}),
        901: ChainEntry(frozenset({PROGRAM}), {PROGRAM: 6}),
    }


def test_the_digest_depends_on_what_the_chains_say_and_not_on_case(tmp_path: Path) -> None:
    digests = {
        load(tmp_path, text).digest
        for text in (
            "",
            CHAIN,
            CHAIN + TOKENS,
            CHAIN + TOKENS.replace("= 6", "= 18"),
            CHAIN.replace("84532", "8453"),
            CHAIN.replace(TARGET, TOKEN),
        )
    }
    assert len(digests) == 6
    assert load(tmp_path, CHAIN.replace(TARGET, TARGET.lower())).digest == load(tmp_path, CHAIN).digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chain = 5", "chain must be a table"),
        ("[chain.84532]", "chain.84532.targets is missing"),
        ("[chain.84532]\ntargets = []", "chain.84532.targets must not be empty"),
        ("[chain.84532]\ntargets = [5]", "chain.84532.targets[0] must be a string"),
        (CHAIN + "target = []", "chain.84532.target is not a policy key; the nearest is targets"),
        (CHAIN + TOKENS + "decimal = 6", "chain.84532.tokens[0].decimal is not a policy key; the nearest is decimals"),
        (CHAIN + TOKENS.replace("decimals = 6", ""), "chain.84532.tokens[0].decimals is missing"),
        (CHAIN + TOKENS.replace("= 6", "= 1"), "chain.84532.tokens[0].decimals must be at least 2"),
        (CHAIN + TOKENS.replace("= 6", "= 37"), "chain.84532.tokens[0].decimals must be at most 36"),
        (CHAIN + TOKENS.replace("= 6", "= 6.0"), "chain.84532.tokens[0].decimals must be a whole number"),
        (CHAIN.replace("84532", "base"), "chain.base must be named by a chain id, such as chain.84532"),
        (CHAIN.replace("84532", "0"), "chain.0 must be named by a chain id, such as chain.84532"),
        (CHAIN.replace("84532", "084532"), "chain.084532 must be named by a chain id, such as chain.84532"),
        (CHAIN.replace("84532", '"canary 77f0"'), "chain.(an invalid name) must be named by a chain id"),
        (CHAIN.replace(TARGET, "0x12"), "chain.84532.targets[0] must be an address"),
        (CHAIN.replace(TARGET, TARGET[:-1] + "a"), "chain.84532.targets[0] has a wrong checksum"),
        (CHAIN.replace(TARGET, f"0x{'0' * 40}"), "chain.84532.targets[0] must not be the zero address"),
        (CHAIN.replace(TARGET, PROGRAM), "chain.84532.targets[0] must be an address of an EVM network"),
        (CHAIN.replace("84532", "900"), "chain.900.targets[0] must be an address of Solana"),
        (CHAIN + TOKENS.replace(TOKEN, PROGRAM), "chain.84532.tokens[0].address must be an address of an EVM network"),
        (
            f'[chain.84532]\ntargets = ["{TARGET}", "{TARGET.lower()}"]',
            "chain.84532.targets[1] repeats chain.84532.targets[0]",
        ),
        (
            CHAIN + TOKENS + TOKENS.replace(TOKEN, TOKEN.lower()).replace("= 6", "= 18"),
            "chain.84532.tokens[1].address repeats chain.84532.tokens[0].address",
        ),
    ],
)
def test_a_wrong_entry_is_refused_by_its_path_without_its_value(tmp_path: Path, text: str, says: str) -> None:
    sentence = refused(tmp_path, text)
    assert sentence.startswith(f"In the policy, {says}")
    assert TARGET not in sentence
    assert "canary" not in sentence
