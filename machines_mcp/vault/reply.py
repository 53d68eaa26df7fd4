"""The vault's reply: one line of fixed fields. Only the reply for sink `model` can contain a card number."""

import json
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.sink import Sink
from machines_mcp.vault.request import Last4, Message, VaultError

MAX_REPLY_BYTES = 4 * 1024

_BRAND = r"^[A-Z][A-Z ]{0,19}$"

Status = Literal["verified", "shown", "sealed", "released", "failed"]
Brand = Annotated[str, Field(pattern=_BRAND)]
Denial = Literal[
    "page.frozen",
    "page.limit_exceeded",
    "page.not_allowed",
    "page.unset",
    "page.unavailable",
    "page.new_passphrase",
    "page.expired",
    "page.refused_elsewhere",
    "page.withdrawn",
    "page.used",
    "page.other_policy",
    "page.gone",
]
"""Why the server takes no decision from the page. After the first six, the approval may go on waiting."""
Code = Literal[
    "verified",
    "shown",
    "sealed",
    "released",
    "card.not_found",
    "secrets.malformed",
    "secrets.unauthentic",
    "secrets.mismatch",
    "partner.unavailable",
    "partner.rejected",
    "recipient.unusable",
    Denial,
    "page.refused",
    "page.left",
    "page.unused",
    "deadline",
    "vault.protocol",
    "internal",
]

_STATUS: dict[Sink, Status] = {"none": "verified", "page": "shown", "sealed": "sealed", "model": "released"}


class VaultReply(Message):
    """The outcome of a reveal. By design, no field can contain a card number."""

    # False in subclasses, which add the content for their sink.
    _plain: ClassVar[bool] = True

    status: Status
    code: Code
    sink: Sink
    brand: Brand | None = None
    last4: Last4 | None = None
    expiration_month: Annotated[int, Field(ge=1, le=12)] | None = None
    expiration_year: Annotated[int, Field(ge=2000, le=2199)] | None = None

    @model_validator(mode="after")
    def _card_only_when_it_went_well(self) -> Self:
        well = self.status != "failed"
        card = (self.last4, self.expiration_month, self.expiration_year)
        if any((fact is not None) != well for fact in card) or (self.brand is not None and not well):
            raise ValueError("status and card contradict each other")
        if (self.code == self.status) != well or (not well and self.code in _STATUS.values()):
            raise ValueError("status and code contradict each other")
        if self.status != (_STATUS[self.sink] if well else "failed") or (not well and self.sink != "none"):
            raise ValueError("status and sink contradict each other")
        if well and self._plain != (self.sink in ("none", "page")):
            raise ValueError("the content for the sink is missing or unexpected")
        return self

    def fields(self) -> dict[str, Any]:
        """Return the fields as they are serialized."""
        return self.model_dump()


class SealedReply(VaultReply):
    """The card, readable only with the recipient's private key."""

    _plain = False

    jwe: str = Field(pattern=r"^[A-Za-z0-9_-]{1,1024}(\.[A-Za-z0-9_-]{1,1024}){4}$")


def _digits(least: int, most: int) -> AfterValidator:
    def check(value: Secret) -> Secret:
        if not re.fullmatch(rf"[0-9]{{{least},{most}}}", value.expose()):
            raise ValueError("not a number of that length")
        return value

    return AfterValidator(check)


class PlaintextReply(VaultReply):
    """The card in plain text, for the sink `model`, which both the operator and a person have approved."""

    _plain = False

    pan: Annotated[Secret, _digits(13, 19)]
    cvc: Annotated[Secret, _digits(3, 4)] | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields as they are serialized, with the secrets exposed."""
        secrets = {"pan": self.pan.expose(), "cvc": None if self.cvc is None else self.cvc.expose()}
        return self.model_dump(exclude={"pan", "cvc"}) | secrets


_REPLIES: dict[Sink, type[VaultReply]] = {"sealed": SealedReply, "model": PlaintextReply}


def failed(code: Code) -> VaultReply:
    """Return the reply for a reveal that failed with `code`."""
    return VaultReply(status="failed", code=code, sink="none")


def clean_brand(brand: str | None) -> str | None:
    """Return the brand in capitals, or None if it is not 1 to 20 letters and spaces."""
    capitals = (brand or "").upper()
    return capitals if re.fullmatch(_BRAND, capitals) else None


def reply_line(reply: VaultReply) -> bytes:
    """Encode a reply in its only valid form, with the newline."""
    return json.dumps(reply.fields(), separators=(",", ":")).encode() + b"\n"


def parse_reply(line: bytes | bytearray, sink: Sink = "none") -> VaultReply:
    """Parse a reply. Raises `VaultError` unless the line is a reply for this sink in its only valid form."""
    reply = _parse(VaultReply, line) or _parse(_REPLIES.get(sink, VaultReply), line)
    # Padding, escapes, duplicate keys and extra lines could carry more data than the fields.
    if reply is None or reply_line(reply) != line or (reply.status != "failed" and reply.sink != sink):
        raise VaultError
    return reply


def _parse(kind: type[VaultReply], line: bytes | bytearray) -> VaultReply | None:
    try:
        return kind.model_validate_json(line)
    except ValidationError:
        return None
