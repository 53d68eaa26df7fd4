"""The results of a person's decision, and how every terminal and page words them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Decision = Literal["granted", "refused", "wrong", "delayed", "unset", "not_allowed", "limit_exceeded", "frozen", "gone"]
"""The result of a decision. The passphrase is `wrong`, `delayed` after a wrong one, or `unset`. `not_allowed`: this
channel may not decide. `limit_exceeded`: a policy limit forbids it. `frozen`: changes are frozen. `gone`: nothing is
waiting under the id."""

MESSAGES: Mapping[Decision, str] = {
    "granted": "Approved. The assistant has 5 minutes to make this one call.",
    "refused": "Refused. The assistant will be told when it asks again.",
    "wrong": "Wrong passphrase. Nothing was changed.",
    "delayed": "Nothing was checked or changed, because wrong passphrases were typed here before.",
    "unset": "No passphrase is set, so nothing was changed. Run machines-mcp passphrase in a terminal on this machine.",
    "not_allowed": "The operator's policy does not allow approving this here. Nothing was changed.",
    "limit_exceeded": "A limit in the operator's policy forbids this now. Nothing was changed.",
    "frozen": "Changes are frozen, so nothing was approved, and the request goes on waiting. To lift the freeze, run"
    " machines-mcp unfreeze.",
    "gone": "This request is no longer waiting. It was decided elsewhere, was withdrawn or has expired.",
}
