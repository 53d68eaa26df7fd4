"""Cost of reads: the same number of database steps with thousands of the user's rows as with a few hundred."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import pytest

from machines_mcp.sandbox import cards, deposits, ledger, users
from machines_mcp.sandbox.call import Call, Incoming
from machines_mcp.sandbox.envelope import Success
from machines_mcp.sandbox.state import State

USER = "somebody"
CARD = "00000000-0000-4000-8000-000000000000"
LONG_AGO = 86_400.0
FEW, MANY = 300, 3_000
# Allows for the deeper B-trees of larger tables, which is negligible next to a cost that grows with the rows.
AIM = 1.2


def filled(rows: int) -> State:
    """Return a state with this many old cards, deposits and charges of the user."""
    state = State.open(None)
    with state.transaction():
        users.link(state, USER, None)
        for number in range(rows):
            at = state.clock.now() - LONG_AGO - number
            entry_id = ledger.enter(state, USER, "collateral", 100, at=at)
            ledger.enter(state, USER, "spend", 1, at=at, card_id=CARD if number % 2 else f"card-{number}")
            state.insert(
                "deposits",
                deposit_id=f"deposit-{number}",
                user_id=USER,
                created_at=at,
                completes_at=at,
                currency="rusd",
                network="base",
                address="0x" + "1" * 40,
                entry_id=entry_id,
            )
            state.insert(
                "cards",
                card_id=f"card-{number}",
                user_id=USER,
                position=number,
                created_at=at,
                status="active",
                last4="0000",
                expiration_month=1,
                expiration_year=2030,
                number_and_cvc=b"",
                labels="{}",
            )
    return state


def steps(state: State, handle: Callable[[Call], Success], query: Mapping[str, str]) -> int:
    """Count the SQLite virtual machine steps of the second of two reads."""
    call = Call(state, Incoming({}, query, {}, b""), "http://127.0.0.1:1", state.clock.now(), users.find(state, USER))
    handle(call)
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    state.db.set_progress_handler(count, 1)
    handle(call)
    state.db.set_progress_handler(None, 0)
    return taken


def oldest(state: State) -> str:
    """Return the cursor of GET /transactions that leads to the last page."""
    (row, *_) = state.rows("SELECT * FROM entries ORDER BY created_at LIMIT 1 OFFSET 60")
    return base64.urlsafe_b64encode(f"{row['created_at']!r} {row['entry_id']}".encode()).decode().rstrip("=")


@pytest.fixture(scope="module")
def sizes() -> Iterator[tuple[State, State]]:
    few, many = filled(FEW), filled(MANY)
    with closing(few.db), closing(many.db):
        yield few, many


@pytest.mark.parametrize(
    ("handle", "query"),
    [
        (ledger.balances, {}),
        (deposits.list_all, {}),
        (deposits.list_all, {"scope": "all"}),
        (ledger.transactions, {}),
        (ledger.transactions, {"type": "collateral"}),
        (ledger.transactions, {"type": "fee,payment"}),
        (ledger.transactions, {"cardId": CARD}),
        (ledger.transactions, {"cardId": CARD, "type": "fee"}),
        (ledger.transactions, {"cardId": CARD.replace("8", "9")}),
        (ledger.transactions, {"cursor": "oldest"}),
        (cards.list_all, {}),
        (cards.list_all, {"cursor": "60"}),
    ],
)
def test_read_cost_does_not_grow_with_the_rows(
    sizes: tuple[State, State], handle: Callable[[Call], Success], query: Mapping[str, str]
) -> None:
    few, many = (
        steps(state, handle, {name: oldest(state) if value == "oldest" else value for name, value in query.items()})
        for state in sizes
    )
    assert 0 < many <= few * AIM
