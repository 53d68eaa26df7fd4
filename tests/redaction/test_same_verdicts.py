"""The output filter's verdict on a line is that of its rules without a short cut."""

from __future__ import annotations

import base64
import json
import random
import secrets
import string
from collections import Counter
from collections.abc import Iterator

import pytest
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic_core import from_json, to_json

from machines_mcp.protocol.handlers import ICON
from machines_mcp.protocol.written import server_meta, write_result
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from tests.redaction.slow_filter import every_detector, verdict
from tests.support.card_numbers import card_number
from tests.support.encoded import ENCODINGS
from tests.support.honest_outputs import HonestOutputs
from tests.support.writings import WRITINGS

__all__ = ["every_detector"]

pytestmark = pytest.mark.usefixtures("every_detector")

WORDS = (
    *("paid", "the", "rent", "of", "Zoë & Söhne", "100%", "tap", "at\tnoon", "C:\\users", "\\u0034", "%34", "&#52;"),
    *("cvc", "CVV2", "security code", "verification value", "securityvalue", "csc", "ssn", "national id", "itin"),
    *("2026-11-30T12:00:00Z", "2026-11-30", "12:30", "1.5e22", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    *("4111 1111", "123", "1234", "123456789", "123-45-6789", "078 05 1120", "12345678901", "•••• 4242", ICON.src),
)
TOKENS = {f"token {number}": secrets.token_urlsafe(24) for number in range(20)}
OTHERS = {"short": "pk-1a", "words": "correct horse battery staple", "digits": "84512663", "signs": "~!@#$%^&*()"}
SECRETS = tuple((TOKENS | OTHERS).values())


class Lines:
    """Random lines. Each has a kind, for a count of what was compared."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311
        self._honest = HonestOutputs(seed)

    def line(self, number: int) -> tuple[str, str, frozenset[str]]:
        """Return a line, its kind, and the values that it may show whole."""
        kind = self._rng.choice(("honest", "words", "card", "secret", "nested", "name"))
        if kind == "honest":
            line, exact = self._honest.line(number)
            return line, kind, frozenset(exact)
        exempt = frozenset({card_number()} if self._rng.random() < 0.2 else ())
        body = {self._name(): self._value(kind) for _ in range(self._rng.randrange(1, 6))} | dict.fromkeys(exempt, 1)
        body |= {"memo": next(iter(exempt))} if exempt else {}
        text = json.dumps(body, ensure_ascii=self._rng.random() < 0.5)
        result = {"content": [{"type": "text", "text": text}], "structuredContent": body}
        message = {"jsonrpc": "2.0", "id": number, "result": result}
        return json.dumps(message, separators=(",", ":"), ensure_ascii=self._rng.random() < 0.5) + "\n", kind, exempt

    def _name(self) -> str:
        return self._rng.choice(("text", "cvc", "ssn", "label", "last4", "code", "security_code", "amount", "id"))

    def _value(self, kind: str) -> object:
        rng = self._rng
        if rng.random() < 0.15:
            return rng.choice((None, True, 7, 1234, 123456789, int(card_number()), float(card_number()), 1.25, []))
        parts = [*rng.choices(WORDS, k=rng.randrange(6)), *(self._part(kind) for _ in range(rng.randrange(2)))]
        rng.shuffle(parts)
        text = rng.choice((" ", "", ", ", "\n", "-")).join(parts)
        return {"inner": [text]} if rng.random() < 0.1 else ICON.src if rng.random() < 0.05 else text

    def _part(self, kind: str) -> str:
        rng = self._rng
        match kind:
            case "card":
                return rng.choice(tuple(WRITINGS.values()))(card_number())
            case "secret":
                return rng.choice(tuple(ENCODINGS.values()))(rng.choice(SECRETS))
            case "nested":
                inside = rng.choice((rng.choice(SECRETS), card_number(), "harmless text of ours"))
                for _ in range(rng.randrange(1, 4)):
                    inside = base64.b64encode(f"{'x' * rng.randrange(4)}{inside}".encode()).decode()
                return inside
            case "name":
                return f"{rng.choice(WORDS)} {''.join(rng.choices(string.digits + ' -', k=rng.randrange(3, 20)))}"
        return "".join(rng.choices(string.ascii_letters + string.digits + "+/_-", k=rng.randrange(40)))


def _compared(lines: Iterator[tuple[str, str, frozenset[str]]]) -> Counter[str]:
    """Compare the verdicts, and count them by kind and verdict."""
    output_filter = OutputFilter(constant=ICON.src)
    for secret in SECRETS:
        output_filter.add_secret(Secret(secret))
    found: Counter[str] = Counter()
    for line, kind, exempt in lines:
        expected = verdict(line, SECRETS, exempt)
        # Twice: the second time, what it remembers may answer.
        assert output_filter.filtered(line, exempt) == expected, line
        assert output_filter.filtered(line, exempt) == expected, line
        found[f"{kind}: {'withheld' if expected is None else 'whole' if expected == line else 'masked'}"] += 1
    return found


@pytest.mark.parametrize("count", [1_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_verdict_on_random_lines_is_that_of_the_rules(count: int) -> None:
    lines = Lines(seed=secrets.randbits(32))
    found = _compared(lines.line(number) for number in range(count))
    print(dict(found))
    for kind, verdicts in {
        "honest": ("whole",),
        "words": ("whole", "masked"),
        "card": ("masked",),
        "secret": ("withheld", "whole"),
        "nested": ("withheld", "whole"),
        "name": ("masked", "whole"),
    }.items():
        for one in verdicts:
            assert found[f"{kind}: {one}"] > count / 200, found


@pytest.mark.parametrize("count", [500, pytest.param(50_000, marks=pytest.mark.long)])
def test_verdict_on_a_written_result_is_that_of_its_whole_line(count: int) -> None:
    lines, output_filter = Lines(seed=secrets.randbits(32)), OutputFilter(constant=ICON.src)
    for secret in SECRETS:
        output_filter.add_secret(Secret(secret))
    found: Counter[str] = Counter()
    for number in range(count):
        line, _, exempt = lines.line(number)
        body = from_json(line)["result"]["structuredContent"]
        parts = [{"type": "text", "text": to_json(body).decode()}, {"type": "text", "text": "Done."}]
        result = {"content": parts, "structuredContent": body}
        written = write_result(result, LATEST_MODERN_VERSION, server_meta({"icons": [{"src": ICON.src}]}))
        whole, once = (
            f'{{"jsonrpc":"2.0","id":{number},"result":{text}}}\n' for text in (written.text, written.read_once)
        )
        expected = verdict(whole, SECRETS, exempt)
        assert output_filter.filtered(whole, exempt, read_once=once) == expected, whole
        found["withheld" if expected is None else "whole" if expected == whole else "masked"] += 1
    assert all(found[kind] > count / 20 for kind in ("withheld", "whole", "masked")), found


def _row(text: str) -> str:
    body = {"text": text}
    result = {"content": [{"type": "text", "text": json.dumps(body)}], "structuredContent": body}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}, separators=(",", ":")) + "\n"


@pytest.mark.parametrize("around", ["{}", "paid with {} at noon", "№ {}, valid", "2026-11-30T12:00:00Z {}"])
def test_verdict_on_each_writing_of_a_card_number_is_that_of_the_rules(around: str) -> None:
    numbers = {kind: card_number(*form) for kind, form in {"Visa": ("41", 16), "American Express": ("37", 15)}.items()}
    rows = [_row(around.format(write(number))) for write in WRITINGS.values() for number in numbers.values()]
    found = _compared((row, "writing", frozenset()) for row in rows)
    assert found["writing: masked"] == len(rows)


@pytest.mark.parametrize("name", ["token 0", "words", "digits"])
def test_verdict_on_each_encoding_of_a_secret_is_that_of_the_rules(name: str) -> None:
    rows = [_row(f"see {encode((TOKENS | OTHERS)[name])} there") for encode in ENCODINGS.values()]
    found = _compared((row, "encoding", frozenset()) for row in rows)
    assert found["encoding: withheld"] > len(rows) * 0.9, found
