"""EVM chains in the simulator's process, with contracts on which its withdrawals can be executed.

Needs the extra `sandbox-chain`. Nothing outside imports this folder unless the simulator runs with `--chain`.
"""
