"""The contract is valid OpenAPI, and its examples conform to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.contract.judge import CONTRACT_FILE, EXAMPLES, contract

EXAMPLE_FILES = sorted(EXAMPLES.glob("*.json"))
TAGS = ("[seed]", "[docs]", "[docs-old]", "[repo:", "[rain]", "[inference]", "GAP")


def read(file: Path) -> dict[str, Any]:
    example: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return example


def request_violations(example: dict[str, Any]) -> list[str]:
    method, path, headers = (example["request"][part] for part in ("method", "path", "headers"))
    query, body = (example["request"].get(part) for part in ("query", "body"))
    return contract().request_violations(method, path, headers=headers, query=query, body=body)


def response_violations(example: dict[str, Any]) -> list[str]:
    request, response = example["request"], example["response"]
    return contract().response_violations(
        request["method"], request["path"], response["status"], response["body"], request_headers=request["headers"]
    )


def luhn(digits: str) -> bool:
    doubled = [int(d) * 2 if i % 2 else int(d) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def test_document_is_valid_openapi_3_1() -> None:
    assert contract().document["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(contract().document).iter_errors()] == []


@pytest.mark.parametrize("file", EXAMPLE_FILES, ids=lambda file: file.stem)
def test_every_example_conforms(file: Path) -> None:
    example = read(file)
    operation = contract().operation(example["request"]["method"], example["request"]["path"])
    assert operation is not None
    assert operation.operation_id == example["operationId"]
    assert request_violations(example) == []
    assert response_violations(example) == []


@pytest.mark.parametrize("operation", contract().operations, ids=lambda operation: operation.operation_id)
def test_every_operation_has_an_example_a_tag_and_a_source(operation: Any) -> None:
    assert (EXAMPLES / f"{operation.operation_id}.json").exists()
    assert operation.body["tags"][0] in {tag["name"] for tag in contract().document["tags"]}
    assert any(tag in operation.body["x-source"] for tag in TAGS)
    assert {"401", "429"} <= set(operation.body["responses"])


def sources(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "x-source")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from sources(child)


def test_every_source_has_a_tag_and_every_gap_states_our_choice() -> None:
    found = list(sources(contract().document))
    assert len(found) > 80
    assert [source for source in found if not any(tag in source for tag in TAGS)] == []
    assert [source for source in found if source.count("GAP") != source.count("GAP -> our choice")] == []


def test_contract_files_contain_no_card_number() -> None:
    for file in (CONTRACT_FILE, *EXAMPLE_FILES):
        for run in re.findall(r"(?<![0-9a-fA-F])\d(?:[ -]?\d){12,18}(?![0-9a-fA-F])", file.read_text(encoding="utf-8")):
            assert not luhn(re.sub(r"\D", "", run)), f"{file.name} contains digits that pass the Luhn check"


def broken(name: str, path: str, value: object) -> dict[str, Any]:
    """Return an example with one value replaced, or removed if `value` is `...`."""
    example = read(EXAMPLES / f"{name}.json")
    *parents, last = path.split("/")
    node: Any = example
    for step in parents:
        node = node[int(step)] if isinstance(node, list) else node[step]
    key = int(last) if isinstance(node, list) else last
    if value is ...:
        del node[key]
    else:
        node[key] = value
    return example


@pytest.mark.parametrize(
    ("name", "path", "value", "rule"),
    [
        ("createSession", "request/headers/X-Partner-Key", ..., "header X-Partner-Key: required"),
        ("getBalances", "request/headers/Authorization", "Bearer word", "header Authorization"),
        ("createSession", "request/body/userId", ..., "body: required userId"),
        ("createSession", "request/body/ttlSeconds", 59, "body.ttlSeconds: minimum"),
        ("createSession", "request/body/scopes", [], "body.scopes: minItems"),
        ("createSession", "request/body/walletAddress", "0x12", "body.walletAddress: pattern"),
        ("createCard", "request/headers/Idempotency-Key", "short", "header Idempotency-Key: minLength"),
        ("createCard", "request/body/surprise", 1, "body: has a property that is not documented"),
        ("createCard", "request/body/limit/amountCents", 12.5, "body.limit.amountCents: type"),
        ("submitKycApplication", "request/body/annualSalary", "50k-99k", "body.annualSalary: enum"),
        ("submitKycApplication", "request/body/birthDate", "31.01.1990", "body.birthDate"),
        ("createWithdrawal", "request/body/destination/address", ..., "body.destination: required address"),
        ("listTransactions", "request/query/type", "spend,gift", "query type: pattern"),
        ("listTransactions", "request/query/limit", "201", "query limit: maximum"),
        ("listTransactions", "request/query/page", "2", "query: page is not documented"),
        ("acceptAgreements", "request/body", ..., "body: required"),
        ("getCard", "request/body", {}, "body: none is documented"),
        ("getBalances", "request/path", "/balance", "path: no operation"),
    ],
)
def test_request_violation_is_named(name: str, path: str, value: object, rule: str) -> None:
    assert any(line.startswith(rule) for line in request_violations(broken(name, path, value)))


@pytest.mark.parametrize(
    ("name", "path", "value", "rule"),
    [
        ("getBalances", "response/body/data/balances/spendingPower", 95.5, "response.data.balances.spendingPower"),
        ("getBalances", "response/body/errors", ..., "response: required errors"),
        ("getBalances", "response/status", 500, "status: 500 is not documented"),
        ("getBalances", "response/status", 403, "status: 403 is not documented"),
        ("createSession", "response/body/data/expiresAt", "soon", "response.data.expiresAt: format"),
        ("resolveUser", "response/body/data/walletAddress", "0x" + "AB" * 20, "response.data.walletAddress"),
        ("createDeposit", "response/body/data/deposit/id", "short", "response.data.deposit.id: minLength"),
        ("createDeposit", "response/body/next/pollAfterMs", 0, "response.next.pollAfterMs: minimum"),
        ("createWithdrawal", "response/body/data/parameters", ["0x"], "response.data.parameters"),
        ("createWithdrawal", "response/body/data/parameters", None, "response.data.parameters: type"),
        ("createWithdrawal.pending", "response/body/data/retryAfterSeconds", ..., "response.data: required"),
        ("createSecretsSession", "response/body/data/secretKey", "00ff", "response.data.secretKey: pattern"),
        ("getCardSecrets", "response/body/data/encryptedPan/iv", "a-b_", "response.data.encryptedPan.iv: pattern"),
        ("createSession.kyc-required", "response/body/errors", [], "response.errors: minItems"),
        ("createCard.open-responses", "response/body/output/1/call_id", "other", "response.output.1.call_id"),
        ("createCard.open-responses", "response/body/output/1/output", '{"ok": true}', "response.output.1.output"),
        ("createCard.open-responses", "response/body/status", "failed", "response.status"),
    ],
)
def test_response_violation_is_named(name: str, path: str, value: object, rule: str) -> None:
    assert any(line.startswith(rule) for line in response_violations(broken(name, path, value)))


def test_violation_never_repeats_the_value() -> None:
    example = broken("submitKycApplication", "request/body/nationalId", "TEST 0001 with spaces")
    assert request_violations(example) == ["body.nationalId: pattern ^[0-9A-Za-z-]+$"]
