from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from dataclasses import dataclass

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from machines_mcp.redaction.secret import Secret

VALUE = "canary-value-2718281828"


class Holder(BaseModel):
    name: str
    secret: Secret


@dataclass
class Plain:
    secret: Secret


def test_only_expose_reveals_the_value() -> None:
    assert Secret(VALUE).expose() == VALUE


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(VALUE)),
        str(Secret(VALUE)),
        f"{Secret(VALUE)}",
        f"{Secret(VALUE)!r}",
        f"{Secret(VALUE)!s}",
        f"{Secret(VALUE)!a}",
        f"{Secret(VALUE):>80}",
        format(Secret(VALUE), "x"),
        "%s %r" % (Secret(VALUE), Secret(VALUE)),  # noqa: UP031
        "{0} {0!r}".format(Secret(VALUE)),
        repr([Secret(VALUE)]),
        repr({"secret": Secret(VALUE)}),
        repr({Secret(VALUE): 1}),
        repr(Plain(Secret(VALUE))),
        repr(Holder(name="a", secret=Secret(VALUE))),
        str(Holder(name="a", secret=Secret(VALUE))),
        repr(ValueError(Secret(VALUE))),
    ],
)
def test_secret_prints_without_its_value(shown: str) -> None:
    assert VALUE not in shown
    assert "•••" in shown or "\\u2022" in shown


def test_secret_is_logged_without_its_value() -> None:
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("%s %r %s", Secret(VALUE), Secret(VALUE), [Secret(VALUE)])
    assert "•••" in stream.getvalue()
    assert VALUE not in stream.getvalue()


def test_traceback_with_locals_does_not_show_the_value() -> None:
    def fail(secret: Secret) -> None:
        raise RuntimeError(secret)

    try:
        fail(Secret(VALUE))
    except RuntimeError as error:
        said = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(•••)" in said
    assert VALUE not in said


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_secret_can_not_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="can't be pickled") as caught:
        pickle.dumps({"secret": Secret(VALUE)}, protocol)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_secret_can_not_be_copied(duplicate: type[object]) -> None:
    with pytest.raises(TypeError, match="pickled or copied"):
        duplicate(Secret(VALUE))  # type: ignore[call-arg]


def test_secret_can_not_be_serialized_as_json() -> None:
    with pytest.raises(TypeError) as plain:
        json.dumps({"secret": Secret(VALUE)})
    with pytest.raises(PydanticSerializationError) as pydantics:
        to_json({"secret": Secret(VALUE)})
    assert VALUE not in f"{plain.value}{pydantics.value}"


@pytest.mark.parametrize("dump", ["model_dump_json", "model_dump"])
def test_model_with_a_secret_can_not_be_dumped(dump: str) -> None:
    holder = Holder(name="a", secret=Secret(VALUE))
    with pytest.raises(PydanticSerializationError, match="can't be serialised") as caught:
        getattr(holder, dump)()
    assert VALUE not in str(caught.value)


def test_model_can_be_dumped_without_its_secret() -> None:
    assert Holder(name="a", secret=Secret(VALUE)).model_dump(exclude={"secret"}) == {"name": "a"}


@pytest.mark.parametrize("given", [VALUE, Secret(VALUE)], ids=["text", "secret"])
def test_model_accepts_text_or_a_secret_and_stores_a_secret(given: object) -> None:
    holder = Holder.model_validate({"name": "a", "secret": given})
    assert type(holder.secret) is Secret
    assert holder.secret.expose() == VALUE


@pytest.mark.parametrize(
    "data",
    [
        {"name": 5, "secret": Secret(VALUE)},
        {"secret": Secret(VALUE)},
        {"name": "a", "secret": [Secret(VALUE)]},
        {"name": "a", "secret": Secret(VALUE), "nested": {"secret": Secret(VALUE)}, "other": 1} | {"name": None},
    ],
    ids=["a wrong neighbour", "a missing neighbour", "in a list", "twice"],
)
def test_validation_error_does_not_quote_the_value(data: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate(data)
    error = caught.value
    assert VALUE not in f"{error} {error!r} {error.errors()}"


def test_model_rejects_an_empty_secret() -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({"name": "a", "secret": ""})


def test_secret_is_truthy_if_not_empty() -> None:
    assert Secret(VALUE)
    assert not Secret("")


def test_equal_secrets_are_equal_and_hash_equally() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret("another")
    assert Secret("ü") != Secret("u")
    assert len({Secret(VALUE), Secret(VALUE), Secret("another")}) == 2


def test_secret_equals_only_a_secret() -> None:
    assert Secret(VALUE) != VALUE
    assert Secret(VALUE) is not None
    assert not Secret(VALUE) == VALUE  # noqa: SIM201
    assert hash(Secret(VALUE)) != hash(VALUE)


def test_secret_has_no_dict_and_accepts_no_attributes() -> None:
    with pytest.raises(TypeError):
        vars(Secret(VALUE))
    with pytest.raises(AttributeError):
        Secret(VALUE).other = 1  # type: ignore[attr-defined]
