"""The policy's entries of chains: which contracts a withdrawal may call there, and which tokens it may move."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from machines_mcp.partner.formats.addresses import address_fault, normal_address
from machines_mcp.partner.formats.networks import may_have_chain
from machines_mcp.permissions.chain_entry import ChainEntry
from machines_mcp.permissions.policy_section import Section


def _a_chain_id(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,14}", value):
        raise PydanticCustomError("machines_rule", "must be named by a chain id, such as chain.84532")
    return value


ChainKey = Annotated[str, AfterValidator(_a_chain_id)]
_Address = Annotated[str, Field(min_length=1, max_length=64)]


class TokenSection(Section):
    """A dollar token in which collateral may be withdrawn. Without any, the policy does not restrict tokens, except in
    `production`."""

    address: _Address = Field(description="the token's contract, on Solana its mint")
    decimals: Annotated[int, Field(ge=2, le=36)] = Field(description="how many decimals its amounts have")


class ChainSection(Section):
    """What a withdrawal may call on one chain, by the API's chain id: 84532 is Base Sepolia, 8453 Base, 900 Solana and
    901 Solana devnet. If the file has any such table, transactions are planned on the listed chains only. `production`
    plans none without."""

    targets: Annotated[list[_Address], Field(min_length=1, max_length=100)] = Field(
        description="the contracts to call, on Solana the programs"
    )
    tokens: Annotated[list[TokenSection], Field(max_length=100)] = Field([], description="allowed tokens, see below")


def chain_entries(sections: Mapping[str, ChainSection]) -> dict[int, ChainEntry]:
    """Return the entries by chain id."""
    return {
        int(key): ChainEntry(
            frozenset(normal_address(_network(key), target) for target in section.targets),
            {normal_address(_network(key), token.address): token.decimals for token in section.tokens},
        )
        for key, section in sections.items()
    }


def wrong_chains(sections: Mapping[str, ChainSection]) -> Iterator[str]:
    """Yield each wrong or repeated address as a clause that begins with the path of its key."""
    for key, section in sections.items():
        path, network = f"chain.{key}", _network(key)
        targets = [(f"{path}.targets[{index}]", target) for index, target in enumerate(section.targets)]
        tokens = [(f"{path}.tokens[{index}].address", token.address) for index, token in enumerate(section.tokens)]
        for places in (targets, tokens):
            seen: dict[str, str] = {}
            for place, address in places:
                if fault := address_fault(network, address):
                    yield f"{place} {fault}"
                first = seen.setdefault(normal_address(network, address), place)
                if first != place:
                    yield f"{place} repeats {first}"


def _network(chain_id: str) -> str:
    return "solana" if may_have_chain("solana", int(chain_id)) else "ethereum"
