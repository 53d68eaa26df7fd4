"""Wrong passphrases in a state folder, and their delays, without waiting for them."""

from __future__ import annotations

import time

from machines_mcp.permissions.factory import Guard
from machines_mcp.permissions.passphrase_tries import PassphrasePlace, PassphraseTries
from machines_mcp.storage.audited_store import AuditedStore
from tests.support.clock import Clock


async def type_wrong(guard: Guard, place: PassphrasePlace, count: int) -> None:
    """Make `count` wrong tries. The last one was made up to some minutes in the future."""
    clock = Clock(time.time())
    tries = PassphraseTries(AuditedStore(guard.store, guard.audit.append_in, clock))
    for _ in range(count):
        clock.advance(await tries.wait(place))
        assert await tries.begin(place) == 0
        await tries.end(place, right=False)


async def end_delays(guard: Guard) -> None:
    """Forget the wrong tries, as if the person had waited."""
    await guard.store.run(lambda db: db.execute("DELETE FROM passphrase_tries"))
