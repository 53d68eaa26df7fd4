from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

import machines_mcp
from machines_mcp.protocol.tool import NextStepOutput, Output
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument, collect_verbatim

PACKAGE = Path(machines_mcp.__file__).parent
# The modules that may construct a `Verbatim`: for ids that we generate, and for arguments read from our own store.
MAKERS = {
    "protocol/repeatable_calls.py",
    "protocol/user_check.py",
    "protocol/withheld.py",
    "redaction/verbatim.py",
    "storage/transactions.py",
    "storage/withdrawal_rows.py",
    "storage/withdrawals.py",
    "tools/approvals.py",
    "tools/chain_errors.py",
    "tools/quote_step.py",
    "tools/reconcile_card_changes.py",
    "tools/status.py",
    "tools/users.py",
    "tools/withdrawal_admin.py",
    "tools/withdrawal_approvals.py",
    "tools/withdrawal_confirmation.py",
    "tools/withdrawal_list.py",
    "tools/withdrawal_page.py",
    "tools/withdrawal_transaction.py",
}


class ArgumentModel(BaseModel):
    id: Annotated[Verbatim, VerbatimArgument()]
    memo: Annotated[Verbatim, VerbatimArgument(min_length=2, max_length=4, pattern="^[a-z]+$")] | None = Field(
        default=None, description="A memo"
    )


class OutputModel(Output):
    id: Verbatim
    memo: Verbatim | None = None
    label: str = ""


def test_argument_validator_makes_a_verbatim_of_a_string() -> None:
    taken = ArgumentModel.model_validate({"id": "41", "memo": "abc"})
    assert (type(taken.id), type(taken.memo)) == (Verbatim, Verbatim)
    assert taken.model_dump() == {"id": "41", "memo": "abc"}


def test_output_field_accepts_only_a_verbatim() -> None:
    taken = ArgumentModel.model_validate({"id": "41"})
    assert OutputModel(id=taken.id).id == "41"
    for other in ("41", 41, None, b"41"):
        with pytest.raises(ValidationError):
            OutputModel.model_validate({"id": other})


@pytest.mark.parametrize("value", ["a\u202eb", "a\nb", "\x1b[31m", "\u200b", "\ue000"])
def test_output_field_rejects_active_characters(value: str) -> None:
    with pytest.raises(ValidationError):
        OutputModel(id=ArgumentModel.model_validate({"id": value}).id)


def test_stored_outcome_is_read_back_unchanged() -> None:
    given = OutputModel(id=Verbatim("41"), memo=Verbatim("m"), label="x")
    stored = json.dumps(given.model_dump(mode="json", exclude_none=True))
    assert collect_verbatim(OutputModel.model_validate_json(stored)) == {"41", "m"}


def test_values_are_found_in_fields_that_can_hold_one_and_in_no_others() -> None:
    class Holder(BaseModel):
        one: OutputModel
        several: list[OutputModel] = []
        anything: dict[str, Any] = {}
        either: Verbatim | int | None = None
        noted: Annotated[OutputModel, "a note"] | None = None
        words: list[str] = []
        kind: Literal["a"] | None = None

    model = OutputModel(id=Verbatim("1"), label=Verbatim("not shown as it is"))
    inner = {"deep": [{"id": Verbatim("2")}, model]}
    holder = Holder.model_construct(
        one=model, several=[OutputModel(id=Verbatim("3"))], anything=inner, either=Verbatim("4"), words=[Verbatim("5")]
    )
    assert collect_verbatim(holder) == {"1", "2", "3", "4"}
    noted = holder.model_copy(update={"noted": OutputModel(id=Verbatim("7"))})
    assert collect_verbatim([noted, {"x": Verbatim("6")}]) == {"1", "2", "3", "4", "6", "7"}


def test_schema_is_that_of_a_string() -> None:
    class Plain(BaseModel):
        id: str
        memo: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]+$")] | None = Field(
            default=None, description="A memo"
        )

    ours, plain = ArgumentModel.model_json_schema(), Plain.model_json_schema()
    assert ours["properties"] == plain["properties"]
    for mode in ("validation", "serialization"):
        assert OutputModel.model_json_schema(mode=mode)["properties"]["id"] == {"title": "Id", "type": "string"}


@pytest.mark.parametrize(
    ("memo", "kind"),
    [
        ("a", "string_too_short"),
        ("abcde", "string_too_long"),
        ("AB", "string_pattern_mismatch"),
        (1, "string_type"),
    ],
)
def test_broken_rule_is_named_as_for_a_string(memo: object, kind: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ArgumentModel.model_validate({"id": "1", "memo": memo})
    assert refused.value.errors()[0]["type"] == kind


def test_every_nested_verbatim_is_collected_and_nothing_else() -> None:
    step = NextStepOutput(
        tool="t", why="w", arguments={"id": Verbatim("1"), "name": "n", "deep": [{"x": Verbatim("2")}]}
    )
    given = OutputModel(id=Verbatim("3"), label="4", next_steps=[step])
    assert collect_verbatim(given) == {"1", "2", "3"}
    assert collect_verbatim({"a": (Verbatim("5"), "6", 7, None)}) == {"5"}
    assert collect_verbatim("8") == set()


def _makes(path: Path) -> bool:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    return any(isinstance(call, ast.Name) and call.id == "Verbatim" for call in calls)


def test_verbatim_is_constructed_in_few_modules() -> None:
    found: set[Any] = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if _makes(path)}
    assert found <= MAKERS
