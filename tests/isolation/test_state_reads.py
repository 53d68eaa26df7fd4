"""Whatever a server for one user shows, it says nothing about another user of the same state folder."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import Context
from pathlib import Path
from typing import Any

import anyio
import click
import mcp_types as types
import pytest
from click.testing import CliRunner
from mcp import MCPError

from machines_mcp.cli.completion import waiting_ids
from machines_mcp.cli.doctor.run import _state
from machines_mcp.cli.doctor.state import check_safeguards
from machines_mcp.cli.main import main
from machines_mcp.desk import app as desk_app
from machines_mcp.desk.identity_page import identity_path
from machines_mcp.desk.routing import Router
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.tools.catalog import TOOLS
from tests.isolation.neighbours import ANN, BOB, Neighbours, policies, prepare, texts
from tests.protocol.test_every_action_class import CALLS
from tests.support.in_process import in_process_sandbox, used_by_all
from tests.support.running_desk import FakeBrowser
from tests.support.stdio_client import ERAS, Era, agent
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

IDS = {"withdrawal_id": "transaction", "card_id": "card", "deposit_id": "deposit", "quote_id": "quote"}
"""The arguments that name something, and what of Bob's they name here."""
PAGES = {
    r"/": ["/"],
    r"/waiting": ["/waiting"],
    r"/events": [],
    r"/decisions/([0-9a-f]{32})": [f"/decisions/{{{kind}}}" for kind in ("withdrawal", "executing", "refused", "form")],
    r"/cards/([0-9a-f]{32})": ["/cards/{label}"],
    r"/kyc/([0-9a-f]{32})": ["/kyc/{form}"],
    r"/withdrawals/(wd_[0-9a-f]{32})": ["/withdrawals/{transaction}"],
    r"/withdrawals/(wd_[0-9a-f]{32})/signature": [],
    r"/withdrawals/(wd_[0-9a-f]{32})/sent": [],
    r"/audit": ["/audit", f"/audit?user={BOB}", "/audit?kind=decision", "/audit?tool=create_card"],
    r"/freeze": ["/freeze"],
    r"/unfreeze": [],
    r"/locked": ["/locked"],
    r"/sign-out": [],
    r"/identity/([A-Za-z0-9_-]{1,700})": [f"/{identity_path(BOB)}"],
}
"""The addresses of each of the desk's routes, with Bob's ids. A new route must be added, or the walk fails."""
COMMANDS: dict[str, list[list[str]] | str] = {
    "tools": [[], ["--json"]],
    "withdrawal": [["{transaction}"], ["{transaction}", "--json"]],
    "approve": [[], ["--json"], ["{withdrawal}"], ["{executing}"], ["{refused}"]],
    "deny": [["{withdrawal}"], ["{granted}"]],
    "unfreeze": [[]],
    "audit show": [["--limit", "1000"], ["--json"], ["--user", BOB], ["--kind", "decision"]],
    "audit verify": [[]],
    "state prune": [["--days", "1"], ["--json"]],
    "state forget": "answers about the user whom the operator typed",
    "state rebase-clock": [[]],
    "passphrase": [["--status"]],
    "call": [["status"], ["create_card", "{again}"]],
    "completion": "prints a script; the ids that it completes are walked below",
    "doctor": "its checks are run without the vault's process, below",
    "desk": "prints the desk's address, whose pages are walked above",
    "freeze": "answers with the id that the operator typed",
    "policy check": "reads only a file",
    **dict.fromkeys(("serve", "sandbox", "demo"), "starts a server, whose results are walked above"),
    **dict.fromkeys(("keypair", "unseal", "install", "uninstall", "login", "logout"), "reads no state folder"),
}
"""The lines of each command, or why it has none. A new command must be added, or the walk fails."""


@pytest.fixture(params=["pinned", "listed"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Neighbours]:
    pinned = request.param == "pinned"
    async with in_process_sandbox() as sandbox:
        made = Neighbours(tmp_path / "state", policies(tmp_path, pinned=pinned), sandbox, pinned)
        await prepare(made)
        yield made


@asynccontextmanager
async def app_of(home: Neighbours, user_id: str) -> AsyncIterator[App]:
    async with opened(read_settings(home.env(user_id)), embedded=home.sandbox) as made:
        yield made


async def test_status_counts_the_calls_of_other_users_and_describes_none(home: Neighbours) -> None:
    async with home.server(BOB) as bob:
        said = await bob.call("status")
        assert len(said["waiting"]) == 3 and len(said["unresolved"]) == 2 and said["frozen"]
        assert len(home.found_in(json.dumps(said))) >= 6  # the marks are there to be found
        assert "other_users" not in said
    async with home.server(ANN) as ann:
        answer = await ann.client.call_tool("status", {})
        said = answer.structured_content or {}
    assert [home.found_in(text) for text in texts(answer)] == [[], []]
    assert (said["waiting"], said["unresolved"], said.get("frozen", [])) == ([], [], [])
    assert said["other_users"] == "3 calls of other users wait. 2 calls of other users are unresolved."
    assert said["next_steps"] == []  # writes ask, so there is nothing to begin with
    limits = {budget["limit"]: budget for budget in said["budgets"]}
    assert limits["withdrawals.per_day_cents"]["left"] == limits["withdrawals.per_day_cents"]["most"]


def _calls(home: Neighbours) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a call of every tool and class, with Bob's ids."""
    yield "status", {}
    for name, calls in CALLS.items():
        for arguments in calls.values():
            given = {key: value for key, value in arguments.items() if key != "user_id"} | home.who(ANN)
            yield name, given | {key: home.ids[kind] for key, kind in IDS.items() if key in given}
            yield (
                name,
                given
                | {key: home.ids[kind] for key, kind in IDS.items() if key in given}
                | {"approval_id": home.ids["withdrawal"]},
            )


async def test_no_tool_says_anything_about_another_user(home: Neighbours) -> None:
    called = set()
    async with home.server(ANN) as ann:
        for tool, arguments in _calls(home):
            answer = await ann.client.call_tool(tool, arguments)
            called.add(tool)
            for text in texts(answer):
                assert home.found_in(text) == [], tool
    assert called == {tool.name for tool in TOOLS}


async def test_no_resource_prompt_or_completion_says_anything_about_another_user(home: Neighbours) -> None:
    said: list[Any] = []
    async with home.server(ANN) as ann:
        client = ann.client
        said += [await client.list_tools(), await client.list_resources(), await client.list_prompts()]
        templates = (await client.list_resource_templates()).resource_templates
        uris = [str(found.uri) for found in (await client.list_resources()).resources]
        uris += [
            t.uri_template.format(user_id=user, card_id=home.ids["card"]) for t in templates for user in (ANN, BOB)
        ]
        for uri in uris:
            try:
                # The address that was asked for is repeated.
                said += [
                    content.model_copy(update={"uri": ""}) for content in (await client.read_resource(uri)).contents
                ]
            except MCPError as error:
                said.append(error.error)
        for prompt in (await client.list_prompts()).prompts:
            said.append(await client.get_prompt(prompt.name, {a.name: "x" for a in prompt.arguments or []}))
            ref = types.PromptReference(type="ref/prompt", name=prompt.name)
            for argument in prompt.arguments or []:
                for context in ({}, {"user_id": BOB}):
                    wanted = {"name": argument.name, "value": ""}
                    said.append(await client.complete(ref, wanted, context_arguments=context))
    assert len(said) > 20
    assert [home.found_in(text) for found in said for text in texts(found) if home.found_in(text)] == []


async def test_no_page_of_the_desk_says_anything_about_another_user(
    home: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns: set[str] = set()

    class RecordingRouter(Router):
        def __init__(self, renderer: Any, routes: Any, *more: Any) -> None:
            patterns.update(route.pattern.pattern for route in routes)
            super().__init__(renderer, routes, *more)

    monkeypatch.setattr(desk_app, "Router", RecordingRouter)
    async with app_of(home, ANN) as made, _browser(made) as person:
        for addresses in PAGES.values():
            for address in addresses:
                page = await person.get(address.format(**home.ids))
                # The filter of the audit page repeats what was typed.
                assert home.found_in(page.text.replace(f'value="{BOB}"', "")) == [], address
        assert "3 calls of other users wait." in (await person.get("/")).text
        assert home.found_in(await _first_event(person)) == []
        for kind in ("withdrawal", "label"):
            for decision in ("approve", "refuse"):
                await person.get(f"/decisions/{home.ids[kind]}")
                answer = await person.post(f"/decisions/{home.ids[kind]}", {"decision": decision})
                assert answer.status_code in (403, 404, 409)
    assert patterns == PAGES.keys()
    async with app_of(home, BOB) as made, _browser(made) as person:
        assert len(home.found_in((await person.get("/")).text)) >= 6
        assert "2,345.67" in (await person.get(f"/decisions/{home.ids['withdrawal']}")).text
        waiting = {approval.id for approval in await made.guard.channels.waiting()}
        assert {home.ids["withdrawal"], home.ids["label"]} <= waiting


async def _first_event(person: FakeBrowser) -> str:
    with anyio.fail_after(PATIENCE):
        async with person.http.stream("GET", f"{person.home}/events", headers={"Sec-Fetch-Site": "same-origin"}) as got:
            event = [line async for line in _until_data(got.aiter_lines())][-1]
    assert event.startswith("data: {")
    return event


async def _until_data(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line.startswith("data:"):
            return


@asynccontextmanager
async def _browser(made: App) -> AsyncIterator[FakeBrowser]:
    import httpx

    home = await made.desk_address()
    assert home is not None
    async with httpx.AsyncClient(trust_env=False) as http:
        yield FakeBrowser(home, http)


def _commands(group: click.Group, *names: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, *names, name)
        else:
            yield " ".join((*names, name))


async def test_no_command_says_anything_about_another_user(home: Neighbours, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(_commands(main)) == COMMANDS.keys()

    def output(user_id: str, line: list[str]) -> str:
        # The command runs its own event loop, which must not be nested in this one.
        found = Context().run(CliRunner().invoke, main, line, env=home.env(user_id))
        return found.output

    who = home.who(ANN)

    def completed(user_id: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in home.env(user_id).items():
                patch.setenv(name, value)
            return len(Context().run(waiting_ids, click.Context(main), click.Argument(["id"]), ""))

    fill = home.ids | {"who": json.dumps(who), "again": json.dumps(who | {"approval_id": home.ids["label"]})}
    with used_by_all(home.sandbox):
        for name, lines in COMMANDS.items():
            for line in lines if isinstance(lines, list) else []:
                words = [re.sub(r"\{(\w+)\}", lambda place: fill[place[1]], word) for word in line]
                said = await anyio.to_thread.run_sync(output, ANN, [*name.split(), *words])
                assert home.found_in(said) == [], [name, *line]
        assert "3 calls of other users wait." in await anyio.to_thread.run_sync(output, ANN, ["approve"])
        assert [await anyio.to_thread.run_sync(completed, user_id) for user_id in (ANN, BOB)] == [0, 3]
        for line in (["approve"], ["audit", "show"]):
            assert home.found_in(await anyio.to_thread.run_sync(output, BOB, line)), line
    async with app_of(home, BOB) as made:
        waiting = {approval.id for approval in await made.guard.channels.waiting()}
        assert {home.ids["withdrawal"], home.ids["label"]} <= waiting


async def test_no_finding_of_doctor_says_anything_about_another_user(home: Neighbours) -> None:
    async with app_of(home, ANN) as made:
        findings = [await _state(made), *await check_safeguards(made)]
    said = json.dumps([finding.as_json() for finding in findings])
    assert home.found_in(said) == []
    assert "3 calls of other users wait." in said and "2 calls of other users are unresolved." in said
    async with app_of(home, BOB) as made:
        assert home.found_in(json.dumps([finding.as_json() for finding in await check_safeguards(made)]))


async def test_a_server_reconciles_only_the_calls_of_its_users(home: Neighbours) -> None:
    async with app_of(home, ANN) as ann:
        await ann.reconcile()
    async with app_of(home, BOB) as bob:
        found = await bob.guard.approvals.get(home.ids["executing"])
        assert found is not None and (found.state, found.owner) == ("executing", "0" * 32)


@pytest.mark.check
@pytest.mark.parametrize("era", ERAS)
async def test_status_over_stdio_says_nothing_about_another_user(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, dialog=False, MACHINES_USER_ID=BOB) as bob:
        code, _ = await bob.refusal("submit_kyc")
        assert code == "approval.required"
    async with agent(tmp_path, era, dialog=False, MACHINES_USER_ID=ANN) as ann:
        said = await ann.call("status")
        assert BOB not in json.dumps(said)
        assert (said["waiting"], said["other_users"]) == ([], "1 call of another user waits.")
