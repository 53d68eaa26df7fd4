"""Assets that can be deposited, and assets that withdrawals can pay out."""

from __future__ import annotations

from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.types import (
    ChainId,
    CodeName,
    Flag,
    PageSize,
    PositiveWhole,
    Rows,
    ShortText,
    Visible,
)


class Network(ResponseModel):
    """A network of an asset. `supports_extra_id`: payments there can carry a memo or tag."""

    id: CodeName | None = documented()
    label: str | None = None
    chain_id: ChainId | None = None
    token_contract: str | None = None
    supports_extra_id: Flag | None = None


class Asset(ResponseModel):
    """One asset. Its `ticker` is the `currency` of the other calls."""

    ticker: CodeName | None = documented()
    name: str | None = None
    icon: str | None = None
    networks: Rows[Network] = ()


class AssetList(ResponseModel):
    """Assets that match a query."""

    assets: Rows[Asset]


class AssetQuery(RequestModel):
    """Query of `GET /deposits/assets` and, with the source fields as hints, of `GET /withdrawals/assets`."""

    q: ShortText | None = None
    limit: PageSize | None = None
    source_chain_id: PositiveWhole | None = None
    source_token_address: Visible | None = None
