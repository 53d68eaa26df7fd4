"""The request that the server sends to the vault: one line of fixed fields."""

import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from machines_mcp.redaction.environment import Environment
from machines_mcp.redaction.scrypt import has_key
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.sink import Sink
from machines_mcp.vault.public_key import Recipient

MAX_CERTIFICATES = 1024 * 1024
MAX_REQUEST_BYTES = 2 * MAX_CERTIFICATES
MAX_DEADLINE_SECONDS = 18 * 60.0

# Not \d, which matches the digits of every script.
Last4 = Annotated[str, Field(pattern=r"^[0-9]{4}$")]


class VaultError(Exception):
    """A line that violates the vault's protocol. The text is constant."""

    def __init__(self) -> None:
        super().__init__("the vault's protocol was violated")


class Message(BaseModel):
    """One line between the server and the vault: strict, without extra fields, and without values in errors.

    The parser's cache would keep short strings, such as a card number, until the process ends.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True, cache_strings="none"
    )


class Verifier(Message):
    """Checks a passphrase without containing it: scrypt (RFC 7914), salt and key in hex, at most 64 MiB."""

    salt: str = Field(pattern=r"^[0-9a-f]{32,128}$", repr=False)
    key: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    n: Literal[16384, 32768, 65536] = 32768
    r: Literal[8] = 8
    p: int = Field(default=1, ge=1, le=4)

    def matches(self, passphrase: Secret) -> bool:
        """Return whether this is the passphrase. Takes about 0.1 s: don't call it on the event loop."""
        return has_key(passphrase, self.salt, self.key, n=self.n, r=self.r, p=self.p)


class PageDetail(Message):
    """One row of the approval, as every surface shows it."""

    label: str = Field(max_length=200)
    value: str = Field(max_length=2000)
    note: str | None = Field(default=None, max_length=500)


class PageOptions(Message):
    """What the page shows and asks for. Without a `verifier`, pressing the button is the approval."""

    handle: str = Field(pattern=r"^[A-Za-z0-9_-]{22,64}$", repr=False)
    """Random path of the page. It prevents accidental visits, but is no access control."""
    asked_by: str = Field(max_length=80)
    """The name that the client program gave itself."""
    environment: Environment
    details: tuple[PageDetail, ...] = Field(max_length=20)
    expires_at: float
    """When the approval expires, in seconds since the epoch. The page says so, and shows no card afterwards."""
    verifier: Verifier | None = None
    may_copy: bool = False
    """Whether the page has buttons that copy the number and the CVC."""


class VaultRequest(Message):
    """A request to reveal one card. `deadline_seconds` bounds the whole reveal, including the start of the process.

    `page` is only for the sink `page`, `recipient` for `sealed`, `with_code` for `model`.
    `trace` is a file for the shapes of the vault's calls; see `machines_mcp.partner.trace`.
    """

    base_url: str = Field(max_length=2048)
    partner_key: Secret
    user_id: str = Field(min_length=1, max_length=120)
    card_id: str = Field(min_length=8, max_length=128)
    last4: Last4
    sink: Sink
    page: PageOptions | None = None
    recipient: Recipient | None = None
    with_code: bool = False
    proxy: str | None = Field(default=None, max_length=2048)
    ca_certificates: str | None = Field(default=None, max_length=MAX_CERTIFICATES, repr=False)
    trace: str | None = Field(default=None, max_length=4096)
    deadline_seconds: float = Field(gt=0, le=MAX_DEADLINE_SECONDS)

    @model_validator(mode="after")
    def _what_the_sink_needs(self) -> Self:
        if (self.page is not None) != (self.sink == "page"):
            raise ValueError("page must be set for the sink page only")
        if (self.recipient is not None) != (self.sink == "sealed"):
            raise ValueError("recipient must be set for the sink sealed only")
        if self.with_code and self.sink != "model":
            raise ValueError("with_code is for the sink model only")
        return self


def parse_request(line: bytes) -> VaultRequest:
    """Parse a request. Raises `VaultError`."""
    try:
        return VaultRequest.model_validate_json(line)
    except ValidationError:
        raise VaultError from None


def request_line(request: VaultRequest) -> bytes:
    """Encode a request as a line, with the partner key exposed."""
    fields = request.model_dump(exclude={"partner_key"})
    return json.dumps({**fields, "partner_key": request.partner_key.expose()}).encode() + b"\n"
