from __future__ import annotations

import pytest

from machines_mcp.redaction.identity_echo import HIDDEN, MAX_USERS, IdentityEchoes

USER = "user-1"


def echoes(*values: str) -> IdentityEchoes:
    found = IdentityEchoes()
    found.remember(USER, values)
    return found


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("Lovelace", "paid by LOVELACE, A.", f"paid by {HIDDEN}, A."),
        ("Łovelace", "lovelace's", "lovelace's"),
        ("Zoë", "zoe & co", f"{HIDDEN} & co"),
        ("12 Main Street", "at 12, Main-Street today", f"at {HIDDEN} today"),
        ("ada@example.com", "mail ada@example.com", f"mail {HIDDEN}"),
        ("TEST-190642", "id test 1906-42", "id test 1906-42".replace("test 1906-42", HIDDEN)),
        ("2025550123", "call (202) 555-0123", f"call ({HIDDEN}"),
        ("1986-12-09", "born 9 December 1986", f"born {HIDDEN}"),
        ("1986-12-09", "born 12/9/1986", f"born {HIDDEN}"),
        ("1986-12-09", "born 19861209", f"born {HIDDEN}"),
        ("Мария", "от МАРИЯ", f"от {HIDDEN}"),
        ("VA", "VA hospital", "VA hospital"),
        ("Base", "database", "database"),
    ],
)
def test_whole_value_is_masked_in_plain_writing(value: str, text: str, shown: str) -> None:
    found = echoes(value)
    assert found.masked(USER, text) == shown
    assert found.found_in(USER, text) is (shown != text)


def test_longest_value_is_masked_as_one() -> None:
    assert echoes("Ada", "Ada Lovelace").masked(USER, "to Ada Lovelace!") == f"to {HIDDEN}!"


def test_value_of_another_user_is_shown() -> None:
    assert echoes("Lovelace").masked("user-2", "Lovelace") == "Lovelace"


def test_value_in_an_encoded_link_is_found() -> None:
    assert echoes("12 Main Street").found_in(USER, "https://example.com/?a=12%20Main%20Street")


def test_values_are_not_kept_in_clear() -> None:
    found = echoes("Lovelace", "12 Main Street")
    assert "lovelace" not in repr(vars(found)).lower()


def test_oldest_user_is_forgotten() -> None:
    found = echoes("Lovelace")
    for number in range(MAX_USERS):
        found.remember(f"other-{number}", ["Byron"])
    assert found.masked(USER, "Lovelace") == "Lovelace"
    assert found.masked("other-0", "Byron") == HIDDEN
