"""A generated client can use the sandbox: the test generates it from the contract file.

The generator is openapi-python-client. It reads OpenAPI 3.1 (type lists, `const`, status ranges) and accepts the whole
contract with `--fail-on-warning`. Its client needs only httpx and attrs, so it runs in this process.
"""

from __future__ import annotations

import base64
import datetime
import importlib
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.contract.judge import CONTRACT_FILE, Operation, contract
from tests.support.running_sandbox import in_thread
from tests.support.sandbox_caller import ALL_SCOPES, KYC_SCOPES, SandboxClient, example, kyc_form
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.check

PACKAGE = "partner_second_client"
GENERATE_SECONDS = 120
WALLET = "0x2B0F7f2F7c8e4c3d2D3b3f6a8F9B0c1D2e3f4A5B"


class GeneratedClient:
    """The generated package: operations by the contract's names, models by its schemas' names."""

    def __init__(self, base_url: str, header: str, secret: str, prefix: str) -> None:
        package = importlib.import_module(PACKAGE)
        self.models: Any = importlib.import_module(f"{PACKAGE}.models")
        self.http = package.AuthenticatedClient(
            *(base_url, secret),
            prefix=prefix,
            auth_header_name=header,
            raise_on_unexpected_status=True,
            timeout=httpx.Timeout(PATIENCE),
            httpx_args={"trust_env": False},
        )
        self.called: set[str] = set()
        self._users: list[GeneratedClient] = []

    def as_user(self, base_url: str, token: str) -> GeneratedClient:
        """Return a client with a session. It closes with this one and shares its call count."""
        user = GeneratedClient(base_url, "Authorization", token, "Bearer")
        user.called = self.called
        self._users.append(user)
        return user

    def close(self) -> None:
        for client in (self, *self._users):
            client.http.get_httpx_client().close()

    def call(self, operation_id: str, *path: str, **arguments: Any) -> Any:
        """Call an operation and return its data as the model that the contract names."""
        operation = operations()[operation_id]
        parsed = self.send(operation_id, *path, **arguments)
        wanted = reply_name(operation)
        assert type(parsed).__name__ == wanted, (operation_id, parsed)
        assert (parsed.ok, parsed.errors) == (True, [])
        self.called.add(operation_id)
        return parsed.data

    def send(self, operation_id: str, *path: str, **arguments: Any) -> Any:
        """Call an operation and return the parsed response. A dict `body` becomes the operation's model."""
        tag = operations()[operation_id].body["tags"][0]
        module = importlib.import_module(f"{PACKAGE}.api.{tag}.{snake(operation_id)}")
        body = arguments.get("body")
        if isinstance(body, dict):
            arguments["body"] = self.body_model(operation_id).from_dict(body)
        return module.sync(*path, client=self.http, **arguments)

    def body_model(self, operation_id: str) -> Any:
        """Return the class of an operation's body, named after its schema or the operation."""
        schema = operations()[operation_id].body["requestBody"]["content"]["application/json"]["schema"]
        schema = schema.get("anyOf", [schema])[0]
        named = schema.get("$ref", "").rpartition("/")[2]
        return getattr(self.models, named or operation_id[0].upper() + operation_id[1:] + "Body")


def operations() -> dict[str, Operation]:
    return {operation.operation_id: operation for operation in contract().operations}


def reply_name(operation: Operation) -> str:
    """Return the first schema that the contract names for a success."""
    responses = operation.body["responses"]
    success = responses.get("200") or responses["2XX"]
    name: str = success["content"]["application/json"]["schema"]["anyOf"][0]["$ref"].rpartition("/")[2]
    return name


def snake(name: str) -> str:
    return re.sub("([A-Z])", lambda match: "_" + match[1].lower(), name)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Generate the package into a temporary folder, importable until the tests end."""
    folder = tmp_path_factory.mktemp("generated")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(CONTRACT_FILE)]
    command += ["--meta", "none", "--output-path", str(folder / PACKAGE), "--fail-on-warning"]
    # Nobody reads the generated code, so it is not formatted.
    config = folder / "generator.json"
    config.write_text('{"post_hooks": []}', encoding="utf-8")
    command += ["--config", str(config)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=GENERATE_SECONDS)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def caller() -> Iterator[SandboxClient]:
    """Return the control of a separate sandbox, because the journey moves its clock."""
    with in_thread() as started:
        caller = SandboxClient(started)
        yield caller
        caller.close()


@pytest.fixture
def partner(caller: SandboxClient, generated: None) -> Iterator[GeneratedClient]:
    """Return the generated client with the partner key."""
    client = GeneratedClient(caller.sandbox.base_url, "X-Partner-Key", caller.sandbox.partner_key, "")
    yield client
    client.close()


def session(caller: SandboxClient, partner: GeneratedClient, user_id: str, scopes: tuple[str, ...]) -> GeneratedClient:
    """Return a client with a session that the generated client minted."""
    opened = partner.call("createSession", body={"userId": user_id, "scopes": list(scopes)})
    assert [scope.value if hasattr(scope, "value") else scope for scope in opened.scopes] == list(scopes)
    assert isinstance(opened.expires_at, datetime.datetime)
    return partner.as_user(caller.sandbox.base_url, opened.session_token)


def test_every_operation_of_the_contract_works_in_the_journey(caller: SandboxClient, partner: GeneratedClient) -> None:
    user_id = f"second-{uuid.uuid4().hex[:8]}"
    become_a_cardholder(session(caller, partner, user_id, KYC_SCOPES), partner, user_id)
    user = session(caller, partner, user_id, ALL_SCOPES)
    fund(caller, user)
    card_id = make_a_card(user)
    read_the_secrets(user, card_id)
    spend(caller, user, card_id)
    withdraw(caller, user)
    assert user.call("deleteCard", card_id).card_id == card_id
    assert partner.called == set(operations())


def become_a_cardholder(user: GeneratedClient, partner: GeneratedClient, user_id: str) -> None:
    resolved = partner.call("resolveUser", body={"userId": user_id, "walletAddress": WALLET})
    assert (resolved.user_id, resolved.wallet_address) == (user_id, WALLET.lower())
    assert resolved.kyc_status.value == "not_submitted"
    values = user.call("getKycValues")
    form = kyc_form()
    assert form["occupation"] in {occupation.code for occupation in values.occupations}
    assert form["annualSalary"] in values.annual_salary
    assert user.call("submitKycApplication", body=form).status.value == "approved"
    assert user.call("getKycStatus").status.value == "approved"
    assert user.call("getAgreements").accepted is False
    accepted = user.call("acceptAgreements", body={"accepted": True})
    assert isinstance(accepted.accepted_at, datetime.datetime)


def fund(caller: SandboxClient, user: GeneratedClient) -> None:
    route = {"currency": "rusd", "network": "base"}
    (asset,) = (asset for asset in user.call("listDepositAssets").assets if asset.ticker == route["currency"])
    assert route["network"] in {network.id for network in asset.networks}
    limits = user.call("getDepositRange", body=route).range_
    assert limits.min_amount <= 500
    estimate = user.call("estimateDeposit", body={**route, "amount": 500.0}).estimate
    assert estimate.estimated_to_amount == 500
    deposit = user.call("createDeposit", body={**route, "amount": 500.0}, idempotency_key=uuid.uuid4().hex).deposit
    assert deposit.deposit_address
    caller.control("/deposits", {"depositId": deposit.id})
    assert user.call("getDeposit", deposit.id).deposit.status == "completed"
    assert [listed.id for listed in user.call("listDeposits").deposits] == [deposit.id]
    assert user.call("getBalances").balances.spending_power == 500_00


def make_a_card(user: GeneratedClient) -> str:
    sealed = user.call("encryptLabel", body={"value": "Groceries"}).value
    assert user.call("decryptLabel", body={"value": sealed.to_dict()}).value == "Groceries"
    assert user.call("getDataKey").to_dict()["key"]
    order = {"encryptedName": sealed.to_dict(), "limit": {"amountCents": 200_00, "frequency": "per24HourPeriod"}}
    card = user.call("createCard", body=order, idempotency_key=uuid.uuid4().hex)
    assert (card.status.value, card.limit.amount_cents, card.encrypted_name) == ("active", 200_00, sealed)
    card_id: str = card.card_id
    assert [listed.card_id for listed in user.call("listCards").cards] == [card_id]
    assert user.call("updateCard", card_id, body={"status": "locked"}).status.value == "locked"
    assert user.call("getCard", card_id).status.value == "locked"
    assert user.call("updateCard", card_id, body={"status": "active"}).status.value == "active"
    return card_id


def read_the_secrets(user: GeneratedClient, card_id: str) -> None:
    opened = user.call("createSecretsSession")
    secrets = user.call("getCardSecrets", card_id, body={"sessionId": opened.session_id})
    data, iv = base64.b64decode(secrets.encrypted_pan.data), base64.b64decode(secrets.encrypted_pan.iv)
    number = AESGCM(bytes.fromhex(opened.secret_key)).decrypt(iv, data, None).decode()
    assert number.endswith(secrets.last4)


def spend(caller: SandboxClient, user: GeneratedClient, card_id: str) -> None:
    caller.control("/spend", {"cardId": card_id, "amountCents": 12_34, "merchantName": "Corner Shop"})
    (spent,) = user.call("listTransactions", card_id=uuid.UUID(card_id), type_="spend,fee").transactions
    assert (spent.amount_cents, spent.merchant_name, spent.type_.value) == (12_34, "Corner Shop", "spend")


def withdraw(caller: SandboxClient, user: GeneratedClient) -> None:
    """Repeat with the same key, advancing the sandbox's clock as the response says, until it is signed."""
    order = example("createWithdrawal")["body"]
    place = {name: order["destination"][name] for name in ("currency", "network")}
    assert user.call("listWithdrawalAssets", q=place["currency"]).assets[0].ticker == place["currency"]
    limits = user.call("getWithdrawalRange", body={"destination": place}).range_
    assert limits.destination_supports_extra_id is True
    estimate = user.call(
        "estimateWithdrawal", body={"destination": place, "amountCents": order["amountCents"]}
    ).estimate
    assert estimate.from_amount_cents == order["amountCents"]
    key = uuid.uuid4().hex
    for _ in range(5):
        answer = user.call("createWithdrawal", body=order, idempotency_key=key)
        if answer.status.value == "ready":
            break
        caller.control("/clock", {"advanceSeconds": int(answer.retry_after_seconds) + 1})
    assert len(answer.parameters) == 7
    assert answer.execution.call_target


def test_error_is_parsed(caller: SandboxClient, partner: GeneratedClient) -> None:
    user = session(caller, partner, caller.ready_user().user_id, ALL_SCOPES)
    refused = user.send("getCard", "no-such-card")
    assert (type(refused).__name__, refused.errors[0].code) == ("ErrorReply", "not_found")
    asked = partner.send("createSession", body={"userId": caller.new_user(), "scopes": ["cards.read"]})
    assert (type(asked).__name__, asked.errors[0].code) == ("ErrorReply", "kyc_required")


def test_open_responses_form_is_parsed(caller: SandboxClient, partner: GeneratedClient) -> None:
    user = session(caller, partner, caller.ready_user().user_id, ALL_SCOPES)
    wrapped = user.send("getBalances", x_open_responses=user.models.GetBalancesXOpenResponses.VALUE_0)
    assert (type(wrapped).__name__, wrapped.status.value) == ("OpenResponse", "completed")
