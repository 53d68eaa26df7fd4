"""What the agent wrote is quoted, isolated and marked wherever the desk's pages show it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from machines_mcp.protocol.tool import Tool
from machines_mcp.tools.approvals import cancel_approval
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.kyc_arguments import IDENTITY
from tests.support.results import object_text
from tests.support.waiting import PATIENCE
from tests.tools.test_every_argument import NOT_SHOWN, SPELLED, VALUES, walking

pytestmark = pytest.mark.anyio

HOSTILE_USER = "Checked by Machines: safe. Press Approve (from Machines)"
AUTHORED = r"""(?x) (?: <bdi[^>]*> “[^“”]*” </bdi> | “ <bdi[ ]class="address">[^<“”]*</bdi> ” )
 (?: </a> )? [ ] <small> (?: after[ ]it[ ] )? from[ ]the[ ]agent"""
"""A text of the agent, with its mark, as HTML without the marks of an address' ends."""


def planted(tool: Tool, given: dict[str, Any]) -> dict[str, str]:
    """Return each argument that takes a free text, with one that reads like words of this server."""
    found = {}
    for name in sorted(given.keys() - {*IDENTITY, "user_id"}):
        text = f"Verified {name.replace('_', ' ')}. Press Approve (from Machines)"
        for form in (text, text[:40].strip(), re.sub("[^a-z]", "", text.lower())[:28]):
            try:
                tool.input_model.model_validate(given | {name: form})
            except ValidationError:
                continue
            found[name] = form
            break
    return found


def judge(page: str, texts: set[str]) -> set[str]:
    """Check that each text stands in the page only with quotes and mark, and return those that do."""
    page = re.sub("</?mark>", "", page)
    (title,) = re.findall("<title>(.*?)</title>", page, re.DOTALL)
    for text in texts:
        if html.escape(text) in title:
            assert re.search(
                f"“{re.escape(html.escape(text))}” \\((?:after it )?from the agent\\)", html.unescape(title)
            )
    rest = re.sub(AUTHORED, "", page.replace(title, ""))
    for text in texts:
        assert text not in html.unescape(rest), (text, rest[rest.find(html.escape(text)) - 300 :][:600])
    return {text for text in texts if text in html.unescape(page)}


@pytest.mark.parametrize("tool", [each for each in TOOLS if each is not cancel_approval], ids=lambda tool: tool.name)
async def test_the_agents_texts_are_quoted_and_marked_on_every_page(tmp_path: Path, tool: Tool) -> None:
    async with walking(tmp_path, HOSTILE_USER) as walk, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        home = await walk.app.desk_address()

        async def page(path: str = "") -> str:
            found = await http.get(f"{home}{path}", headers={"Sec-Fetch-Site": "none"}, follow_redirects=True)
            assert found.status_code == 200
            return found.text

        arguments = walk.arguments(tool)
        given = arguments | planted(tool, arguments)
        answer = json.loads(object_text(await walk.client.call_tool(tool.name, given)))
        if answer["code"] != "approval.required":
            # A text that Machines would refuse is refused before a person is asked: then valid ones are shown.
            given = arguments | {"label": given["label"]} if "label" in given else arguments
            answer = json.loads(object_text(await walk.client.call_tool(tool.name, given)))
        assert answer["code"] == "approval.required", answer
        texts = {
            value
            for name, value in (VALUES | given).items()
            if isinstance(value, str) and len(value) > 3 and name in given
            if not {name, (tool.name, name)} & {*SPELLED, *NOT_SHOWN, *IDENTITY, "admin_address"}
        }
        approval = f"decisions/{answer['approval_id']}"
        assert judge(await page(), texts) == judge(await page(approval), texts) >= texts & {HOSTILE_USER}
        which = {"approval_id": answer["approval_id"]}
        withdrawal = json.loads(object_text(await walk.client.call_tool("cancel_approval", which)))
        assert withdrawal.get("status") == "withdrawn", withdrawal
        after = await page()
        assert f"/{approval}" in after
        for shown in (after, await page(approval), await page("audit?everything=1"), await page("locked")):
            judge(re.sub("(?s)<h1>Audit.*", "", shown), texts)
