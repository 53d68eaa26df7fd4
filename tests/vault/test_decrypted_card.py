from __future__ import annotations

import pytest

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.decrypted_card import DecryptedCard, decrypt_card
from machines_mcp.vault.decryption import DecryptionError, DecryptionFault
from tests.support.card_numbers import card_number, check_digit
from tests.support.vault_cards import new_key, seal

KEY = new_key()
NUMBER = card_number()


def _fault(number: bytes, code: bytes, last4: str) -> DecryptionFault:
    with pytest.raises(DecryptionError) as caught, decrypt_card(Secret(KEY), seal(KEY, number), seal(KEY, code), last4):
        pytest.fail("a card was opened that must be refused")
    return caught.value.fault


@pytest.mark.parametrize("length", range(13, 20))
@pytest.mark.parametrize("code", [b"012", b"0123"])
def test_a_valid_card_is_decrypted_inside_the_block(length: int, code: bytes) -> None:
    number = card_number(length=length)
    with decrypt_card(Secret(KEY), seal(KEY, number.encode()), seal(KEY, code), number[-4:]) as card:
        assert (card.number.decode(), bytes(card.cvc)) == (number, code)


def test_the_buffers_are_zeroed_after_the_block_even_on_an_exception() -> None:
    seen: list[DecryptedCard] = []
    with (
        pytest.raises(ZeroDivisionError),
        decrypt_card(Secret(KEY), seal(KEY, NUMBER.encode()), seal(KEY, b"123"), NUMBER[-4:]) as card,
    ):
        seen.append(card)
        raise ZeroDivisionError
    assert seen[0].number == bytes(16)
    assert seen[0].cvc == bytes(3)


def test_a_decrypted_card_does_not_print_its_number() -> None:
    with decrypt_card(Secret(KEY), seal(KEY, NUMBER.encode()), seal(KEY, b"123"), NUMBER[-4:]) as card:
        assert NUMBER not in f"{card} {card!r}"


def _wrong_check_digit() -> str:
    return NUMBER[:-1] + str((int(NUMBER[-1]) + 1) % 10)


def _transposed() -> str:
    """Swap two unequal neighbours. The check digit detects all such swaps except 0 and 9."""
    body = "9" + "12" * 7
    return "9" + "21" + "12" * 6 + check_digit(body)


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        pytest.param(card_number(length=12), DecryptionFault.NUMBER, id="12 digits"),
        pytest.param(card_number(length=20), DecryptionFault.NUMBER, id="20 digits"),
        pytest.param("123", DecryptionFault.NUMBER, id="code in the number's place"),
        pytest.param(f"{NUMBER[:4]} {NUMBER[4:]}", DecryptionFault.NUMBER, id="grouped"),
        pytest.param(NUMBER + "\n", DecryptionFault.NUMBER, id="newline"),
        pytest.param("a" + NUMBER[1:], DecryptionFault.NUMBER, id="a letter"),
        pytest.param("-" + NUMBER[1:], DecryptionFault.NUMBER, id="a sign"),
        pytest.param("\0" + NUMBER[1:], DecryptionFault.NUMBER, id="a control character"),
        pytest.param("٣" + NUMBER[2:], DecryptionFault.NUMBER, id="an Arabic digit"),
        pytest.param("\uff19" + NUMBER[3:], DecryptionFault.NUMBER, id="a full-width digit"),
        pytest.param("²" + NUMBER[2:], DecryptionFault.NUMBER, id="a superscript"),
        pytest.param(_wrong_check_digit(), DecryptionFault.CHECK_DIGIT, id="wrong check digit"),
        pytest.param(_transposed(), DecryptionFault.CHECK_DIGIT, id="two digits swapped"),
    ],
)
def test_an_invalid_number_is_refused(number: str, fault: DecryptionFault) -> None:
    assert _fault(number.encode(), b"123", number[-4:]) is fault


ANOTHER = pytest.param(str((int(NUMBER[-4:]) + 1) % 10_000).zfill(4), id="another")


@pytest.mark.parametrize("last4", ["", "12345", "٣٣٣٣", ANOTHER])
def test_another_cards_number_is_refused(last4: str) -> None:
    assert _fault(NUMBER.encode(), b"123", last4) is DecryptionFault.LAST4


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("12", id="2 digits"),
        pytest.param("12345", id="5 digits"),
        pytest.param("12a", id="a letter"),
        pytest.param("1 2", id="a blank"),
        pytest.param("123\n", id="newline"),
        pytest.param("٣٣", id="Arabic digits"),
        pytest.param(NUMBER, id="number in the code's place"),
    ],
)
def test_an_invalid_code_is_refused(code: str) -> None:
    assert _fault(NUMBER.encode(), code.encode(), NUMBER[-4:]) is DecryptionFault.CODE


def test_swapped_number_and_code_are_refused() -> None:
    assert _fault(b"123", NUMBER.encode(), NUMBER[-4:]) is DecryptionFault.NUMBER
