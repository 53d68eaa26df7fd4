"""A desk under test: the production guard over a temporary folder, a fake partner, and an HTTP client."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

from machines_mcp.desk.dependencies import CardPage, DeskDependencies, FormResult, TakeDecision
from machines_mcp.desk.locked_cards import LockedCards
from machines_mcp.desk.server import Desk
from machines_mcp.desk.withdrawal_pages import WithdrawalPages
from machines_mcp.partner import KycStatus, KycValues
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Detail
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import Policy, default_policy
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.withdrawals import Destination
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.kyc_status import meaning
from machines_mcp.tools.outcome_sentence import outcome_sentence
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

PASSPHRASE = "correct horse battery"

_FIELDS: tuple[dict[str, Any], ...] = (
    {"name": "firstName", "required": True, "type": "string", "maxLength": 50},
    {"name": "lastName", "required": True, "type": "string", "maxLength": 50},
    {"name": "birthDate", "required": True, "type": "date"},
    {"name": "nationalId", "required": True, "type": "string", "regex": "^[0-9A-Za-z-]+$"},
    {"name": "countryOfIssue", "required": True, "type": "string", "minLength": 2, "maxLength": 2},
    {"name": "email", "required": True, "type": "string"},
    {"name": "address", "required": True, "type": "object"},
    {"name": "phoneCountryCode", "required": False, "type": "string", "maxLength": 3, "regex": "^[0-9]+$"},
    {"name": "phoneNumber", "required": False, "type": "string", "maxLength": 15, "regex": "^[0-9]+$"},
    {"name": "occupation", "required": True, "type": "string"},
    {"name": "annualSalary", "required": True, "type": "enum"},
    {"name": "accountPurpose", "required": True, "type": "enum"},
    {"name": "expectedMonthlyVolume", "required": True, "type": "enum"},
)
_JOBS = {"15-1132": "Software Developers", "15-1141": "Database Administrators", "29-1141": "Registered Nurses"}


def kyc_values(*more: dict[str, Any], **changes: Any) -> KycValues:
    """Return the form as the API sends it, with `more` fields."""
    jobs = [{"code": code, "label": label} for code, label in _JOBS.items()]
    jobs += [{"code": f"99-{number:04}", "label": f"Worker of the kind {number}"} for number in range(30)]
    form = {
        "fields": [*_FIELDS, *more],
        "occupations": jobs,
        "annualSalary": ["<40k", "50k–99k"],
        "expectedMonthlyVolume": ["under $1k", "$20k+"],
        "accountPurpose": ["everyday spend", "testing"],
    }
    return KycValues.model_validate(form | changes)


def kyc_status(status: str = "needs_verification", **fields: Any) -> KycStatus:
    """Return the status of an identity check as the API sends it."""
    return KycStatus.model_validate({"status": status, "isTermsOfServiceAccepted": False} | fields)


@dataclass
class FakePartner:
    """A fake of the desk's partner callbacks. It records what it receives."""

    values: KycValues = field(default_factory=kyc_values)
    status: KycStatus = field(default_factory=kyc_status)
    error: Exception | None = None
    answer: FormResult | None = None
    sent: list[dict[str, str]] = field(default_factory=list)
    card_page: CardPage = field(default_factory=lambda: CardPage("http://127.0.0.1:9/card"))
    opened: list[str] = field(default_factory=list)
    simulator: str | None = None
    output_filter: OutputFilter = field(default_factory=OutputFilter)
    """Knows the server's secrets."""

    async def kyc_values(self, user_id: str) -> KycValues:
        if self.error is not None:
            raise self.error
        return self.values

    async def kyc_status(self, user_id: str) -> KycStatus:
        if self.error is not None:
            raise self.error
        return self.status

    async def simulator_page(self) -> str | None:
        return self.simulator

    async def open_card(self, approval_id: str) -> CardPage:
        self.opened.append(approval_id)
        return self.card_page

    async def submit_form(self, approval_id: str, values: Mapping[str, str], take: TakeDecision) -> FormResult:
        if self.answer is not None and self.answer.decision == "faulty":
            return self.answer
        decision = await take()
        if decision == "granted":
            self.sent.append(dict(values))
        return self.answer if self.answer is not None and decision == "granted" else FormResult(decision)


@dataclass
class RunningDesk:
    """The desk and its dependencies."""

    guard: Guard
    desk: Desk
    partner: FakePartner
    clock: Clock
    address: str = ""

    async def ask(
        self, action_class: ActionClass = ActionClass.MONEY, details: ApprovalDetails | None = None, **more: Any
    ) -> Approval:
        """Open an approval."""
        given = {"tool": "create_withdrawal", "user_id": "user-1", "digest": "d", "asked_by": "Test Client 1.0"} | more
        return await self.guard.approvals.open(CallRequest(action_class=action_class, **given), details or withdrawal())

    async def state(self, approval: Approval) -> str:
        found = await self.guard.approvals.get(approval.id)
        assert found is not None
        return found.state


ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"


def withdrawal(cents: int = 12_050, address: str = ADDRESS, **more: Any) -> ApprovalDetails:
    """Return the approval details of a withdrawal."""
    given: dict[str, Any] = {
        "question": f"Withdraw ${cents / 100:,.2f} to this address?",
        "items": (
            Detail("User", "user-1"),
            Detail("Amount", f"${cents / 100:,.2f}"),
            Detail("Network", "usdc on base"),
            Detail("Address", address, "the first withdrawal to this destination"),
        ),
        "amount_cents": cents,
        "destination": Destination("usdc", "base", address),
    }
    return ApprovalDetails(**given | more)


def identity_form() -> ApprovalDetails:
    """Return the approval details of an identity check that the person fills in at the desk."""
    return ApprovalDetails(
        question="Fill in the user's identity form and send it to Machines?",
        items=(Detail("User", "user-1"),),
        only="form",
    )


@asynccontextmanager
async def running_desk(
    folder: Path,
    environment: str = "sandbox",
    *,
    policy: Policy | None = None,
    clock: Clock | None = None,
    key: bytes = b"k",
    passphrase: str | None = PASSPHRASE,
    port: int | None = None,
    withdrawals: WithdrawalPages | None = None,
    locked_cards: LockedCards | None = None,
) -> AsyncIterator[RunningDesk]:
    """Run a desk for the block, outside `embedded` with its passphrase set."""
    clock = clock or Clock()
    store = Store(folder)
    guard = build_guard(store, policy or default_policy(environment, read_only=False), ANY_USER, clock=clock)
    partner = FakePartner()
    dependencies = DeskDependencies(
        environment=environment,
        guard=guard,
        key=key,
        titles={tool.name: tool.title for tool in TOOLS},
        outcome_sentence=outcome_sentence,
        kyc_values=partner.kyc_values,
        kyc_status=partner.kyc_status,
        kyc_meaning=meaning,
        submit_form=partner.submit_form,
        open_card=partner.open_card,
        simulator_page=partner.simulator_page,
        contains_secret=partner.output_filter.contains_secret,
        clock=clock,
        withdrawals=withdrawals,
        locked_cards=locked_cards,
    )
    desk = Desk(dependencies, port)
    try:
        with anyio.fail_after(PATIENCE * 4):
            if environment != "embedded" and passphrase is not None:
                await guard.passphrase.set(Secret(passphrase))
            found = await desk.address()
            assert found is not None
            yield RunningDesk(guard, desk, partner, clock, found)
    finally:
        await desk.close()
        await guard.audit.close()
        await store.close()


class _Forms(HTMLParser):
    """The forms of a page: each action, with the fields that a browser would submit unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self._at: dict[str, str] | None = None
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._at = self.forms.setdefault(given.get("action", ""), {})
        elif self._at is not None and tag == "input" and "name" in given:
            if given.get("type") != "radio" or "checked" in given:
                self._at[given["name"]] = given.get("value", "")
        elif self._at is not None and tag == "select":
            self._select = given["name"]
            self._at[self._select] = ""
        elif self._at is not None and tag == "option" and "selected" in given:
            self._at[self._select] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._at = None


def forms(page: str) -> dict[str, dict[str, str]]:
    """Return the forms on a page by action, without the secret path."""
    parser = _Forms()
    parser.feed(page)
    return {re.sub("^/[a-z]{32}(?=/)", "", action): fields for action, fields in parser.forms.items()}


@dataclass
class FakeBrowser:
    """Sends a browser's headers. A test's headers override them; an empty one is omitted.

    Paths are those below the desk's secret path.
    """

    address: str
    http: httpx.AsyncClient
    page: str = ""

    @property
    def origin(self) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def home(self) -> str:
        """The address without the slash at its end."""
        return self.address.rstrip("/")

    @property
    def base(self) -> str:
        """The secret path."""
        return urlsplit(self.home).path

    def led_to(self, answer: httpx.Response) -> str:
        """Return the path that a response redirects to."""
        location = answer.headers["location"]
        assert location.startswith(f"{self.base}/")
        return str(location.removeprefix(self.base))

    async def get(self, path: str = "/", **headers: str) -> httpx.Response:
        answer = await self.http.get(self.home + path, headers=_sent({"Sec-Fetch-Site": "none"}, headers))
        self.page = answer.text
        return answer

    async def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> httpx.Response:
        """Submit the form of the last page, with changes."""
        fields = forms(self.page).get(path, {}) | dict(form or {})
        browser = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        answer = await self.http.post(self.home + path, data=fields, headers=_sent(browser, headers))
        if not answer.is_redirect:
            self.page = answer.text
        return answer

    async def sign_in(self, passphrase: str = PASSPHRASE) -> httpx.Response:
        await self.get()
        return await self.post("/sign-in", {"passphrase": passphrase})


def _sent(usual: dict[str, str], given: Mapping[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in given.items()}
    return {name: value for name, value in (usual | named).items() if value}


@asynccontextmanager
async def browser(desk: RunningDesk, *, signed_in: bool = True) -> AsyncIterator[FakeBrowser]:
    """Open a browser at the desk."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        opened = FakeBrowser(desk.address, http)
        if signed_in and desk.guard.policy.needs_passphrase:
            assert (await opened.sign_in()).status_code == 303
        await opened.get()
        yield opened
