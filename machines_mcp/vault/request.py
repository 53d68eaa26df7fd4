"""All that passes between the server and the vault: one closed request, one closed reply."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from machines_mcp.secret import Secret

MAX_REQUEST_BYTES = 16 * 1024
MAX_REPLY_BYTES = 4 * 1024
MAX_DEADLINE_SECONDS = 120.0

_BRAND = r"^[A-Z][A-Z ]{0,19}$"

Sink = Literal["none"]
# Not \d: it takes the digits of every script.
Last4 = Annotated[str, Field(pattern=r"^[0-9]{4}$")]
Brand = Annotated[str, Field(pattern=_BRAND)]
Code = Literal[
    "verified",
    "card.not_found",
    "secrets.malformed",
    "secrets.unauthentic",
    "secrets.mismatch",
    "partner.unavailable",
    "partner.rejected",
    "deadline",
    "vault.protocol",
    "internal",
]


class VaultError(Exception):
    """A line that is not exactly a request or a reply. Constant text."""

    def __init__(self) -> None:
        super().__init__("the vault's protocol was violated")


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True)


class VaultRequest(_Message):
    """One card to reveal. `deadline_seconds` bounds the whole reveal, the start of the process included.

    `trace` is a file for the shapes of the vault's calls: see `machines_mcp.partner.trace`.
    """

    base_url: str = Field(max_length=2048)
    partner_key: Secret
    user_id: str = Field(min_length=1, max_length=120)
    card_id: str = Field(min_length=8, max_length=128)
    last4: Last4
    sink: Sink
    proxy: str | None = Field(default=None, max_length=2048)
    ca_file: str | None = Field(default=None, max_length=4096)
    trace: str | None = Field(default=None, max_length=4096)
    deadline_seconds: float = Field(gt=0, le=MAX_DEADLINE_SECONDS)


class VaultReply(_Message):
    """What became of it. The fields have no room for a card number: that is the point of them."""

    status: Literal["verified", "failed"]
    code: Code
    sink: Sink
    brand: Brand | None = None
    last4: Last4 | None = None
    expiration_month: Annotated[int, Field(ge=1, le=12)] | None = None
    expiration_year: Annotated[int, Field(ge=2000, le=2199)] | None = None

    @model_validator(mode="after")
    def _card_only_when_verified(self) -> Self:
        verified = self.status == "verified"
        card = (self.last4, self.expiration_month, self.expiration_year)
        if verified != (self.code == "verified") or any((fact is not None) != verified for fact in card):
            raise ValueError("status, code and card contradict each other")
        if self.brand is not None and not verified:
            raise ValueError("a brand without a card")
        return self


def failed(code: Code) -> VaultReply:
    """The reply of a reveal that ended with `code`."""
    return VaultReply(status="failed", code=code, sink="none")


def clean_brand(brand: str | None) -> str | None:
    """A brand in capitals, or None where it is more than 20 letters and blanks."""
    capitals = (brand or "").upper()
    return capitals if re.fullmatch(_BRAND, capitals) else None


def parse_request(line: bytes) -> VaultRequest:
    """The request in a line. Raises `VaultError`."""
    try:
        return VaultRequest.model_validate_json(line)
    except ValidationError:
        raise VaultError from None


def reply_line(reply: VaultReply) -> bytes:
    """The one spelling of a reply, newline included."""
    return reply.model_dump_json().encode() + b"\n"


def parse_reply(line: bytes) -> VaultReply:
    """The reply in a line. Raises `VaultError` for everything but that reply's one spelling."""
    try:
        reply = VaultReply.model_validate_json(line)
    except ValidationError:
        raise VaultError from None
    # Padding, escapes, doubled keys and second lines would be room for more than the fields say.
    if reply_line(reply) != line:
        raise VaultError
    return reply
