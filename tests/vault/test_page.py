from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from tests.vault.children import PATIENCE
from tests.vault.pages import opened, page_request
from tests.vault.upstream import CARD_ID, Upstream, serve

pytestmark = pytest.mark.anyio


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serve(Upstream()) as served:
        yield served


async def test_the_right_passphrase_shows_the_card_once(upstream: Upstream) -> None:
    async with opened(page_request(upstream.base_url, CARD_ID, upstream.last4)) as page:
        asked = await page.get()
        assert upstream.seen == []
        shown = await page.press()
        again = await page.press()
        assert (asked.status_code, again.status_code) == (200, 410)
        assert len(upstream.seen) == 3
        with anyio.fail_after(PATIENCE):
            await page.notes.over.wait()
        assert shown.status_code == 200
        (reply,) = page.notes.replies
        assert (reply.status, reply.last4, reply.expiration_month) == ("shown", upstream.last4, 12)
