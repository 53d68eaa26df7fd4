from __future__ import annotations

import copy
import inspect
import re

import pytest

from machines_mcp.partner import errors

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.PartnerError) and kind is not errors.PartnerError
]


def test_documented_class_tree_is_accurate() -> None:
    drawn: dict[str, str] = {}
    path = ["PartnerError"]
    for line in (errors.__doc__ or "").splitlines():
        branch = re.match(r"([│ ]*)[├└]── (\w+)", line)
        if branch:
            depth = len(branch[1]) // 4 + 1
            path[depth:] = [branch[2]]
            drawn[branch[2]] = path[depth - 1]
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in KINDS if kind.__base__}


@pytest.mark.parametrize("kind", KINDS)
def test_error_message_is_one_constant_sentence(kind: type[errors.PartnerError]) -> None:
    error = kind(code="odd", status=418, field="email", retry_after=3)
    assert str(error) == kind.sentence
    assert re.fullmatch(r"[A-Z][^.]+\.", str(error))
    assert error.args == ()
    assert repr(error) == f"{kind.__name__}()"


@pytest.mark.parametrize("kind", KINDS)
def test_error_without_a_code_has_its_class_default(kind: type[errors.PartnerError]) -> None:
    assert re.fullmatch(r"[a-z_]{1,40}", kind().code)
    assert kind(code="odd").code == "odd"


def test_each_error_class_has_its_own_code() -> None:
    assert len({kind.default_code for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (errors.Unreachable(), True),
        (errors.TimedOut(), True),
        (errors.TimedOut(outcome_known=False), False),
        (errors.ConnectionLost(outcome_known=False), False),
        (errors.RateLimited(), True),
        (errors.ServerError(), True),
        (errors.ServerError(outcome_known=False), False),
        (errors.Conflict(), False),
        (errors.Conflict(code="missing_contract"), True),
        (errors.InvalidState(), False),
        (errors.InvalidRequest(), False),
        (errors.Unauthorized(), False),
        (errors.Malformed(), False),
        (errors.ScopeRefused(), False),
    ],
)
def test_only_errors_safe_to_repeat_are_retryable(error: errors.PartnerError, retryable: bool) -> None:
    assert error.retryable is retryable


def test_copy_has_the_same_fields_and_no_traceback() -> None:
    try:
        raise errors.RateLimited(code="slow_down", status=429, retry_after=7)
    except errors.RateLimited as error:
        twin = copy.copy(error)
    assert (twin.code, twin.status, twin.retry_after, twin.outcome_known) == ("slow_down", 429, 7, True)
    assert twin.__traceback__ is None
