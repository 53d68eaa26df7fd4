"""Labels encrypted with the user's data key."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, StringConstraints, model_validator

from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.types import LongText, PositiveWhole, Whole
from machines_mcp.redaction.secret import Secret


class EncryptedField(ResponseModel):
    """A text that only the API can decrypt: `iv` and `ct` (ciphertext, then tag) in base64url."""

    v: Whole
    iv: str
    ct: str


class SealedLabel(RequestModel):
    """An `EncryptedField` as part of a request."""

    v: PositiveWhole
    iv: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}={0,2}$")]
    ct: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,8192}={0,2}$")]


class EncryptedValue(ResponseModel):
    """Response of `POST /encryption/encrypt`."""

    value: EncryptedField


class DecryptedValue(ResponseModel):
    """Response of `POST /encryption/decrypt`."""

    value: str = documented("")


class DataKey(ResponseModel):
    """The user's data key. Its shape is undocumented, so every field is kept, with each text as a `Secret`."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _hide(cls, data: Any) -> Any:
        return {name: _hidden(value) for name, value in data.items()} if isinstance(data, dict) else data


class PlainValue(RequestModel):
    """Body of `POST /encryption/encrypt`: 1 to 1000 characters."""

    value: LongText


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, dict):
        return {name: _hidden(inner) for name, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list) else value
