"""The partner's users (step 2)."""

from __future__ import annotations

from machines_mcp.partner.models.users import ResolveUserBody, User
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.vocabulary import WalletChain


class Users(Resource):
    """`/users`, called with the partner key."""

    async def resolve(
        self,
        user_id: str,
        *,
        wallet_address: str | None = None,
        wallet_label: str | None = None,
        wallet_chain: WalletChain = "evm",
    ) -> User:
        """Create the user, or link a wallet to them: `POST /users/resolve`.

        `user_id` is the partner's own id (1 to 120 characters). `wallet_address` is `0x` and 40 hex digits
        or, on the chain `solana`, 32 bytes in base58. `wallet_label` has at most 120 characters.

        Raises:
            InvalidRequest: The client or the API refused an argument.
            PartnerError: Any other failure. `outcome_known` is False if the link may have been made.
        """
        link = ResolveUserBody(
            user_id=user_id, wallet_chain=wallet_chain, wallet_address=wallet_address, wallet_label=wallet_label
        )
        request = Request.mutation("POST", "/users/resolve", link.to_json())
        return await self._transport.call_as_partner(request, User)

    async def get(self, user_id: str) -> User:
        """Read a user who exists: `POST /users/resolve` without a wallet, which changes nothing about them.

        Raises:
            PartnerError: The user could not be read.
        """
        body = ResolveUserBody(user_id=user_id).to_json()
        return await self._transport.call_as_partner(Request.read_by_post("/users/resolve", body), User)
