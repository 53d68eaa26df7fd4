"""Generate docs/sandbox.md from the contract's `x-rules` and the docstrings of the control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from machines_mcp.sandbox.control import CONTROLS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "sandbox.md"
_CONTRACT = ROOT / "tests" / "contract" / "partner-openapi.yaml"
# The page's words for the first tag of a source.
_TAGS = {
    "[seed]": "documented",
    "[docs": "documented",
    "[repo:": "seen in the vendor's code",
    "[rain]": "the issuer's material",
    "[inference]": "our choice",
    "GAP -> our choice": "our choice",
}
_HEAD = """# The sandbox, rule by rule

`make docs` generates this page from `x-rules` in `tests/contract/partner-openapi.yaml`. Each row names the test of its
rule. Sources: "documented" is the Partner API's documentation, "seen in the vendor's code" is its public example, "the
issuer's material" is public information about the collateral contracts. "Our choice" says nothing about the real API.
"""
_CHAINS = """## Chains of its own

`machines-mcp sandbox --chain` needs the extra `sandbox-chain` ([installation](withdrawal.md#installation)), which
exists for CPython 3.11 and 3.12 on x86-64 Linux, macOS and Windows. At a terminal it prints the settings of a server
that connects to it, the wallet, and the `[chain]` tables for a policy. To a pipe it prints one line of JSON, which
then also has:

| key | what it is |
| --- | --- |
| `rpc_url`, `chain_id` | the JSON-RPC of the first chain, 84532 |
| `wallet` | an account with coins on each chain: `address` and `private_key`. The key is worth nothing elsewhere |
| `chains` | by chain id: `rpc_url`, `targets` (the contract to call) and `tokens` (`address`, `decimals`) |

To take a user through a withdrawal with your own agent:

1. Start the simulator, and paste the settings that it prints into a second terminal. There, `machines-mcp passphrase`
   sets what approvals need, and `machines-mcp doctor --probe` asks the node for its chain id.
2. Start your MCP client in that terminal, and take the user to a balance. A deposit of `rusd` on `base` completes by
   itself.
3. Link the wallet with `resolve_user`, or name it as `admin_address` in `quote_withdrawal`. `rusd` on `base` goes
   straight to the destination; most other currencies go through an exchange. If the policy lists destinations, it
   must list yours.
4. Follow [the steps](withdrawal.md#the-steps). The wallet signs and sends with the JSON-RPC of its chain.

The control's clock moves the time of the simulator and of its chains, not the server's: a withdrawal that expired
this way fails the check `simulated`.

Chain 84532 has contracts of version 2 (`coordinator_v2`), chain 11155111 of version 1 (`controller_v1`). They are
written in Vyper from the public interfaces, in `machines_mcp/sandbox/chain/contracts`; the issuer's own bytecode has
not been run. Any wallet's library can read and send: `tests/chain/test_wallet_libraries.py` does so with viem and
ethers.

What differs from other chains: each transaction is mined at once in a block of its own, fees are fixed, gas is lower
than elsewhere, logs can't be searched, and contracts can't be deployed. Web pages of other origins are refused;
wallets, which are browser extensions, are not.
"""


def rules() -> dict[str, list[dict[str, str]]]:
    """Return the rules by chapter, each with `rule`, `x-source` and `test`."""
    document: Any = yaml.safe_load(_CONTRACT.read_text(encoding="utf-8"))
    found: dict[str, list[dict[str, str]]] = document["x-rules"]
    return found


def tag(source: str) -> str:
    """Return the page's word for a source, from its first tag.

    Raises:
        ValueError: The source has no known tag.
    """
    for mark, word in _TAGS.items():
        if source.startswith(mark):
            return word
    raise ValueError("a rule without a known tag")


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for chapter, rows in rules().items():
        table = [f"| {row['rule']} | {tag(row['x-source'])} | `{row['test']}` |" for row in rows]
        parts.append("\n".join([f"## {chapter}\n", "| rule | source | test |", "| --- | --- | --- |", *table]) + "\n")
    orders = []
    for method, path, handle in CONTROLS:
        words = " ".join((handle.__doc__ or "").split()).removeprefix(f"{method} /control{path}").strip()
        what, _, about = words.partition(": ")
        body = f"`{what}`" if what else ""
        orders.append(f"| `{method} /control{path}` | {body} | {about} |")
    parts.append(
        "\n".join(["## The control\n", "| request | body | what it does |", "| --- | --- | --- |", *orders]) + "\n"
    )
    return "\n".join([*parts, _CHAINS])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
