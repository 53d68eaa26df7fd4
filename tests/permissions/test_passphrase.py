"""The passphrase: stored as a verifier, checked one try at a time, by all processes."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from machines_mcp.permissions import passphrase as module
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.passphrase import Passphrase
from machines_mcp.permissions.passphrase_tries import MAX_DELAY_SECONDS
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

RIGHT = Secret("correct horse battery")
WRONG = Secret("wrong horse battery")


@pytest.fixture
async def passphrase(guard: Guard) -> Passphrase:
    """Return a passphrase that is set."""
    assert await guard.passphrase.set(RIGHT) == "right"
    return guard.passphrase


@pytest.fixture
async def other_process(tmp_path: Path, clock: Clock) -> AsyncIterator[Passphrase]:
    """Return the passphrase as another process on the same folder sees it."""
    other = Store(tmp_path / "state")
    yield build_guard(other, default_policy("embedded", read_only=False), ANY_USER, clock=clock).passphrase
    await other.close()


async def test_no_passphrase_is_right_before_one_is_set(guard: Guard) -> None:
    assert not await guard.passphrase.is_set()
    assert await guard.passphrase.verifier() is None
    assert await guard.passphrase.check(RIGHT, "terminal") == "unset"


async def test_only_the_set_passphrase_is_right(passphrase: Passphrase, clock: Clock) -> None:
    assert await passphrase.is_set()
    assert await passphrase.check(RIGHT, "terminal") == "right"
    verifier = await passphrase.verifier()
    assert verifier is not None
    assert verifier.set_at == clock.now
    for other in ("", "correct horse batter", "correct horse battery ", "Correct horse battery", "\ud800"):
        clock.advance(MAX_DELAY_SECONDS)
        assert await passphrase.check(Secret(other), "desk") == "wrong"


async def test_only_a_verifier_is_stored_in_a_private_file(passphrase: Passphrase, store: Store) -> None:
    text = passphrase.path.read_text(encoding="ascii")
    assert set(json.loads(text)) == {"salt", "key", "set_at"}
    assert stat.S_IMODE(passphrase.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(passphrase.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in passphrase.path.parent.iterdir() if "passphrase" in path.name] == ["passphrase.json"]
    for file in store.folder.rglob("*"):
        assert file.is_dir() or RIGHT.expose().encode() not in file.read_bytes()


async def test_equal_passphrases_have_different_verifiers(passphrase: Passphrase) -> None:
    first = await passphrase.verifier()
    assert await passphrase.set(RIGHT, RIGHT) == "right"
    second = await passphrase.verifier()
    assert first is not None and second is not None
    assert (first.salt, first.key) != (second.salt, second.key)


@pytest.mark.parametrize("length", [0, 1, 7, 201, 100_000])
async def test_too_short_or_too_long_passphrase_is_rejected(guard: Guard, length: int) -> None:
    with pytest.raises(ValueError, match="8 to 200 characters"):
        await guard.passphrase.set(Secret("x" * length))
    assert not await guard.passphrase.is_set()


async def test_change_requires_the_old_passphrase(passphrase: Passphrase, guard: Guard, clock: Clock) -> None:
    for old in (None, WRONG, Secret("")):
        assert await passphrase.set(WRONG, old) == "wrong"
        clock.advance(MAX_DELAY_SECONDS)
    assert await passphrase.check(RIGHT, "terminal") == "right"
    assert await passphrase.set(WRONG, RIGHT) == "right"
    assert await passphrase.check(WRONG, "terminal") == "right"
    settings = await guard.audit.rows(ANY_USER, kind="setting")
    assert [(row.code, row.verdict, row.by) for row in settings] == [
        ("passphrase", "set", "terminal"),
        ("passphrase", "changed", "terminal"),
    ]


async def test_a_wrong_try_delays_even_the_right_passphrase_unchecked(
    passphrase: Passphrase, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await passphrase.check(WRONG, "terminal") == "wrong"
    with monkeypatch.context() as patched:
        # Any check of a try now fails.
        patched.setattr(module, "has_key", None)
        for given in (RIGHT, WRONG):
            assert await passphrase.check(given, "terminal") == "delayed"
        assert await passphrase.set(WRONG, RIGHT) == "delayed"
    clock.advance(1)
    assert await passphrase.check(RIGHT, "terminal") == "right"


async def test_wrong_tries_of_one_way_delay_no_other(passphrase: Passphrase, clock: Clock) -> None:
    for _ in range(20):
        assert await passphrase.check(WRONG, "sign-in") == "wrong"
        clock.advance(60)
    assert await passphrase.check(WRONG, "sign-in") == "wrong"
    assert await passphrase.check(RIGHT, "sign-in") == "delayed"
    assert [await passphrase.check(RIGHT, place) for place in ("desk", "terminal", "page")] == ["right"] * 3


async def test_one_of_many_concurrent_guesses_of_all_processes_is_checked(
    passphrase: Passphrase, other_process: Passphrase, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Secret] = []
    matches = module.Verifier.matches

    def look(self: module.Verifier, given: Secret) -> bool:
        looked.append(given)
        return matches(self, given)

    monkeypatch.setattr(module.Verifier, "matches", look)
    said: list[str] = []

    async def guess(by: Passphrase, number: int) -> None:
        said.append(await by.check(Secret(f"guess number {number}"), "desk"))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(guess, passphrase if number % 2 else other_process, number)
    assert len(looked) == 1
    assert sorted(said) == ["delayed"] * 19 + ["wrong"]


async def test_right_passphrases_of_two_processes_at_once_are_both_right(
    passphrase: Passphrase, other_process: Passphrase
) -> None:
    said: list[str] = []

    async def check(by: Passphrase) -> None:
        said.append(await by.check(RIGHT, "terminal"))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(check, passphrase if number % 2 else other_process)
    assert said == ["right"] * 6


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b"\xff\xfe",
    b'{"salt": 1, "key": 2, "set_at": 3}',
    b'{"salt": "zz", "key": "zz", "set_at": 3}',
    b'{"salt": "", "key": "", "set_at": 3}',
    b'{"salt": "%s", "key": "%s", "set_at": "now"}' % (b"0" * 32, b"0" * 64),
    b'{"salt": "%s", "key": "%s", "set_at": 3, "more": 1}' % (b"0" * 32, b"0" * 64),
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
async def test_corrupt_file_rejects_every_try_and_is_kept(passphrase: Passphrase, content: bytes) -> None:
    passphrase.path.write_bytes(content)
    attempts: list[Callable[[], Awaitable[object]]] = [passphrase.is_set, passphrase.verifier]
    attempts.append(lambda: passphrase.check(RIGHT, "terminal"))
    for attempt in attempts:
        with pytest.raises(StoreUnavailable, match="then set a new passphrase"):
            await attempt()
    with pytest.raises(StoreUnavailable):
        await passphrase.set(WRONG, RIGHT)
    assert passphrase.path.read_bytes() == content


async def test_try_that_can_not_be_counted_or_audited_is_rejected(
    passphrase: Passphrase, guard: Guard, store: Store
) -> None:
    before = passphrase.path.read_bytes()
    await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: passphrase.check(RIGHT, "terminal"),
        lambda: passphrase.set(WRONG, RIGHT),
        lambda: passphrase.tries.begin("page"),
    ]
    for attempt in attempts:
        with pytest.raises(StoreUnavailable):
            await attempt()
    assert passphrase.path.read_bytes() == before


async def test_first_passphrase_that_can_not_be_audited_is_not_set(guard: Guard, store: Store) -> None:
    await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreUnavailable):
        await guard.passphrase.set(RIGHT)
    assert not guard.passphrase.path.exists()
