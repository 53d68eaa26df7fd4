"""Why there is no plan. No message has text of a caller or of an outside party; what may be shown is in the fields."""

from __future__ import annotations

from typing import Literal


class ChainFault(Exception):
    """A withdrawal has no plan, or its receipt can't be read."""


class NotSigned(ChainFault):
    """The API has not signed the withdrawal yet: it is `pending`, or `ready` without a signature."""

    def __init__(self) -> None:
        super().__init__("the withdrawal is not signed yet")


class Malformed(ChainFault):
    """The API's answer can't be read. `position` is a path in it, such as `parameters[5]`."""

    def __init__(self, position: str) -> None:
        super().__init__(f"{position} can't be read")
        self.position = position


class Unsupported(ChainFault):
    """There are no plans for such a withdrawal. `path` is the call path as it came: clean it before it is shown."""

    def __init__(self, path: str, reason: str = "") -> None:
        super().__init__("no plan is made for this call path")
        self.path = path
        self.reason = reason
        """What is not supported of a known path, as a clause in our words; empty if the path is not known."""


class Expired(ChainFault):
    """The signature has expired, so the withdrawal can't move anything any more."""

    def __init__(self) -> None:
        super().__init__("the signature has expired")


class Stale(ChainFault):
    """The contract's nonce has moved since the typed data was made, which voids the signatures."""

    def __init__(self) -> None:
        super().__init__("the contract's nonce has moved")


class CheckFailed(ChainFault):
    """A check of the plan failed. `expected` is a clause in our words; `setting` is what decides, if any does."""

    def __init__(self, check: str, expected: str, setting: str = "") -> None:
        super().__init__(f"the check {check} failed")
        self.check = check
        self.expected = expected
        self.setting = setting


class WrongSignature(ChainFault):
    """The signature is not that of `signer`. `recovered` is the account that signed; None if no account did."""

    def __init__(self, signer: str, recovered: str | None) -> None:
        super().__init__("the signature is not that of the admin over this typed data")
        self.signer = signer
        self.recovered = recovered


Unavailable = Literal[
    "it can't be reached",
    "it did not answer in time",
    "it is a node of another chain",
    "its answer is too large",
    "its answer is not JSON-RPC",
    "it answered with an HTTP error or a redirect",
    "it refused the request",
    "its address is not set",
]


class RpcUnavailable(ChainFault):
    """The chain's node gave no usable answer. `why` is a clause after "the node"; `setting` is what decides, if any."""

    def __init__(self, why: Unavailable, setting: str = "") -> None:
        super().__init__(f"the chain's node is not available: {why}")
        self.why: Unavailable = why
        self.setting = setting
