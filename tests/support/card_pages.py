"""A person's way from the address in `approval.required` to the vault's page: the desk starts the page on a click."""

from __future__ import annotations

import html
import re

import httpx

from tests.support.running_desk import PASSPHRASE, FakeBrowser


async def press_open(page: str, http: httpx.AsyncClient, passphrase: str | None = PASSPHRASE) -> httpx.Response:
    """Open an approval at the desk, signing in if needed, and press its button. Return the desk's answer."""
    home, approval_id = page.rsplit("/decisions/", 1)
    person = FakeBrowser(home, http)
    if (await person.get(f"/decisions/{approval_id}")).status_code == 401:
        assert passphrase is not None
        assert (await person.sign_in(passphrase)).status_code == 303
        await person.get(f"/decisions/{approval_id}")
    return await person.post(f"/cards/{approval_id}")


async def card_page(page: str, http: httpx.AsyncClient, passphrase: str | None = PASSPHRASE) -> str:
    """Return the address of the vault's page that the desk starts for an approval."""
    answer = await press_open(page, http, passphrase)
    assert answer.status_code == 200, answer.text
    found = re.search(r'<meta http-equiv="refresh" content="0;url=([^"]+)">', answer.text)
    assert found is not None, answer.text
    return html.unescape(found[1])
