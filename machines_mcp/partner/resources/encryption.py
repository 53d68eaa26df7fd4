"""Labels encrypted with the user's data key (step 11). Not for card numbers."""

from __future__ import annotations

from machines_mcp.partner.errors import InvalidRequest, Malformed
from machines_mcp.partner.models.encryption import (
    DataKey,
    DecryptedValue,
    EncryptedField,
    EncryptedValue,
    PlainValue,
    SealedLabel,
)
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import ENCRYPTION_READ, ENCRYPTION_WRITE


class Encryption(Resource):
    """`/encryption`. Methods raise `PartnerError` and subclasses. `InvalidRequest` before sending names the field."""

    async def encrypt(self, user_id: str, text: str) -> EncryptedField:
        """Encrypt a label of 1 to 1000 characters: `POST /encryption/encrypt`. Scope `encryption.write`."""
        request = Request.read_by_post("/encryption/encrypt", PlainValue(value=text).to_json())
        answer = await self._transport.call(user_id, ENCRYPTION_WRITE, request, EncryptedValue)
        try:
            sealed(answer.value)
        except InvalidRequest:
            # A label that can't be sent back can't be the label of a card.
            raise Malformed from None
        return answer.value.with_hint(answer.hint)

    async def decrypt(self, user_id: str, field: EncryptedField) -> str:
        """Decrypt a label: `POST /encryption/decrypt`. Scope `encryption.read`."""
        request = Request.read_by_post("/encryption/decrypt", {"value": sealed(field).to_json()})
        answer = await self._transport.call(user_id, ENCRYPTION_READ, request, DecryptedValue)
        return answer.value

    async def data_key(self, user_id: str) -> DataKey:
        """Return the data key, for client-side encryption: `GET /encryption/data-key`. Scope `encryption.read`."""
        return await self._transport.call(user_id, ENCRYPTION_READ, Request.get("/encryption/data-key"), DataKey)


def sealed(field: EncryptedField) -> SealedLabel:
    """Return the field in the form that requests take. Raises `InvalidRequest` if it is not base64url."""
    return SealedLabel(v=field.v, iv=field.iv, ct=field.ct)
