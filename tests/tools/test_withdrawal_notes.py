"""The note of a withdrawal claims only what the answer of Machines shows."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.partner import Withdrawal
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.tools.withdrawal_output import WithdrawalCreated, withdrawal_result
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_withdrawals import ADDRESS, funded

pytestmark = pytest.mark.anyio

NOW = 1_780_000_000.0
SIGNED = [ADDRESS, ADDRESS, "1", ADDRESS, NOW + 1800, "c2FsdA==", "0xab"]
EXECUTION = {"chainId": 84532, "callTarget": ADDRESS, "callPath": "coordinator_v2"}
COMPLETE: dict[str, Any] = {
    "status": "ready",
    "parameters": SIGNED,
    "signature": None,
    "expiresAt": NOW + 1800,
    "execution": EXECUTION,
}


class Call:
    """What a result needs of a call: the clock."""

    user_id = "user-1"

    def __init__(self) -> None:
        self.services = self
        self.state = self

    def clock(self) -> float:
        return NOW

    def user_argument(self, user_id: str) -> dict[str, Any]:
        return {}


def result(admin: str | None = ADDRESS, **changes: Any) -> WithdrawalCreated:
    call: Any = Call()
    answer = Withdrawal.model_validate(COMPLETE | changes)
    return withdrawal_result(call, Verbatim("wd_1"), {"amount_cents": 500, "admin_address": admin}, answer)


ADMINS = (ADDRESS, None)
STATUSES = ("ready", "pending", "submitted", "failed", "signed", "Ready", "completed", "canceled")
EXECUTIONS: list[Any] = [EXECUTION, None, {}, EXECUTION | {"callTarget": None}, EXECUTION | {"chainId": None}]
PARAMETERS: list[Any] = [SIGNED, None, [*SIGNED[:6], ""], [*SIGNED[:6], None]]
SIGNATURES: list[Any] = [None, {"data": "0xab"}, {"data": ""}, {"parameters": SIGNED}, {"salt": "c2FsdA=="}]
EXPIRIES: list[Any] = [NOW + 1800, NOW + 1, NOW, NOW - 1, 1_577_836_800, "2020-01-01T00:00:00Z", None]
ALL = list(product(ADMINS, STATUSES, EXECUTIONS, PARAMETERS, SIGNATURES, EXPIRIES))


def test_every_claim_of_a_note_is_shown_by_the_answer() -> None:
    notes = set()
    for admin, status, execution, parameters, signature, expires_at in ALL:
        made = result(
            admin, status=status, execution=execution, parameters=parameters, signature=signature, expiresAt=expires_at
        )
        expired = status == "ready" and expires_at not in (NOW + 1800, NOW + 1, None)
        signed = parameters == SIGNED or signature in ({"data": "0xab"}, {"parameters": SIGNED})
        note = made.note
        notes.add(note)
        assert ("No money has moved" in note) == (status == "pending")
        assert note.startswith("Ready:") == (status == "ready" and execution == EXECUTION and signed and not expired)
        assert ("quote's admin_address" in note) == (note.startswith("Ready:") and admin is not None)
        known = expires_at is not None or parameters is not None or signature == {"parameters": SIGNED}
        assert ("before the signature expires" in note) == (note.startswith("Ready:") and known)
        assert ("has expired" in note) == (made.status == "expired") == expired
        # Whatever is not clear must not lead to a second payout.
        assert ("Do not request it again" in note) != (status == "pending" or note.startswith("Ready:"))
    assert len(notes) == 8


# What an answer can have as the time of its parameters, and the epoch seconds that the chain reads there.
LATER, SOON = int(NOW) + 1800, int(NOW) + 60
TIMES: list[tuple[Any, float | None]] = [
    *((form, LATER) for form in (LATER, float(LATER), str(LATER), hex(LATER), "2026-05-28T20:56:40Z")),
    *((form, SOON) for form in (SOON, str(SOON))),
    *((form, NOW) for form in (NOW, str(int(NOW)), hex(int(NOW)))),
    *((form, 0) for form in (0, "0", "0x0", -1, "2020-01-01T00:00:00Z")),
    *((form, LATER * 1000) for form in (LATER * 1000, str(LATER * 1000))),
    (2**256 - 1, 2**256 - 1),
    *((form, None) for form in ("", "soon", None, True, [LATER], {"at": LATER}, "-1", "9" * 101)),
]


@pytest.mark.parametrize("expires_at", [None, LATER, NOW, "2020-01-01T00:00:00Z"])
@pytest.mark.parametrize("place", ["parameters", "signature.parameters", "both", "signature"])
def test_the_first_time_of_an_answer_counts(place: str, expires_at: Any) -> None:
    for form, seconds in TIMES:
        signed = [*SIGNED[:4], form, *SIGNED[5:]]
        inside = {"data": "0xab", **({"expiresAt": form} if place == "signature" else {"parameters": signed})}
        made = result(
            expiresAt=expires_at,
            parameters=signed if place in ("parameters", "both") else None,
            signature=None if place == "parameters" else inside,
        )
        top = {LATER: LATER, NOW: NOW}.get(expires_at, 0) if expires_at is not None else None
        first = min((time for time in (top, seconds) if time is not None), default=None)
        assert (made.status == "expired") == ("has expired" in made.note) == (first is not None and first <= NOW), form
        known = first is not None and first < 2**33
        if made.status == "ready":
            assert ("before the signature expires" in made.note) == (made.signature_expires_at is not None) == known
            assert ("when the signature expires is not known" in made.note) != known
            assert made.signature_expires_at is None or made.signature_expires_at.timestamp() == first


@pytest.mark.parametrize("status", ["submitted", "failed"])
async def test_unknown_status_makes_no_promise(tmp_path: Path, status: str) -> None:
    made = await changed_withdrawal(tmp_path, {"status": status, "parameters": None, "signature": None})
    assert made["status"] == status
    assert "can't say whether money moved" in made["note"]
    assert "No money has moved" not in made["note"]


@pytest.mark.parametrize(
    "change", [{"expiresAt": "2020-01-01T00:00:00Z"}, {"parameters/4": 1_577_836_800}, {"signature/parameters/4": "1"}]
)
async def test_expired_signature_is_not_ready(tmp_path: Path, change: dict[str, Any]) -> None:
    made = await changed_withdrawal(tmp_path, change)
    assert made["status"] == "expired"
    assert "Ready" not in made["note"]


async def test_wallet_is_named_as_the_quote_names_it(tmp_path: Path) -> None:
    owner = result(None)
    assert "Ready: the owner of the collateral must send" in owner.note
    given = await changed_withdrawal(tmp_path / "given", {}, admin_address="0x" + "ab" * 20)
    assert "Ready: the quote's admin_address must send" in given["note"]


async def changed_withdrawal(folder: Path, changes: dict[str, Any], **terms: Any) -> dict[str, Any]:
    """Return the result of a withdrawal whose response has these values."""
    async with caller(folder) as c:
        await funded(c)
        quote = await quoted(c, **terms)
        if changes:
            patch = [{"op": "replace", "path": f"/data/{name}", "value": value} for name, value in changes.items()]
            await c.control(
                "/faults", kind="patch", path="/withdrawals", method="POST", exact=True, patch=patch, calls=2
            )
        return await c.call("create_withdrawal", quote_id=quote)


async def quoted(c: ToolCaller, **terms: Any) -> str:
    to = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS}
    return str((await c.call("quote_withdrawal", **to, **terms))["quote_id"])
