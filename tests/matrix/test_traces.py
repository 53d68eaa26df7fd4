"""OpenTelemetry: when an operator enables it, spans contain no argument, response or error text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.approver import FakeApprover
from tests.support.fake_tools import ERAS, Era, Harness

pytestmark = pytest.mark.anyio

CANARY = "canary-7f3a-9c21"

_spans = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def traced() -> None:
    """A provider can be set only once per process, so it stays. It costs little without a span reader."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_spans))
    trace.set_tracer_provider(provider)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    _spans.clear()
    yield _spans
    _spans.clear()


def spans_as_json(spans: InMemorySpanExporter) -> str:
    """Return all spans as JSON, except those of the test's own client."""
    found = [span for span in spans.get_finished_spans() if not _of_the_client(span)]
    return "".join(span.to_json() for span in found)


def _of_the_client(span: Any) -> bool:
    return str(span.attributes.get("mcp.method.name", "")) != "elicitation/create" and "MCP send" in span.name


async def test_span_is_recorded(spans: InMemorySpanExporter) -> None:
    with trace.get_tracer("mcp-python-sdk").start_as_current_span(CANARY):
        pass
    assert CANARY in spans_as_json(spans)


async def _call_everything(client: Client) -> None:
    await client.call_tool("pay", {"user_id": CANARY, "amount_cents": 700, "note": CANARY[:20]})
    await client.call_tool("pay", {CANARY: CANARY})
    await client.call_tool("look", {"code": CANARY})
    await client.call_tool(CANARY, {})
    for work in (client.read_resource(f"machines://{CANARY}"), client.get_prompt(CANARY, {CANARY: CANARY})):
        with pytest.raises(MCPError):
            await work


@pytest.mark.parametrize("era", ERAS)
async def test_span_contains_no_value_of_a_call(harness: Harness, era: Era, spans: InMemorySpanExporter) -> None:
    async with harness.client(era, FakeApprover()) as client:
        await _call_everything(client)
    assert harness.upstream.paid
    assert CANARY not in spans_as_json(spans)


@pytest.mark.parametrize("era", ERAS)
async def test_span_contains_no_exception_text(harness: Harness, era: Era, spans: InMemorySpanExporter) -> None:
    async def fail() -> None:
        raise LookupError(CANARY)

    harness.upstream.before = harness.upstream.on_question = fail
    async with harness.client(era, FakeApprover()) as client:
        await client.call_tool("look", {})
        await client.call_tool("pay", {"user_id": "u", "amount_cents": 700})
    assert CANARY not in spans_as_json(spans)


@pytest.mark.parametrize("era", ERAS)
async def test_span_contains_no_error_text_of_a_client(harness: Harness, era: Era, spans: InMemorySpanExporter) -> None:
    person = FakeApprover(types.ErrorData(code=-32000, message=CANARY, data={"why": CANARY}))
    async with harness.client(era, person) as client:
        if era == "legacy":
            await client.call_tool("pay", {"user_id": "u", "amount_cents": 700})
        else:
            with pytest.raises(MCPError):
                await client.call_tool("pay", {"user_id": "u", "amount_cents": 700})
    assert person.asked
    assert CANARY not in spans_as_json(spans)
