"""Assets and networks: arguments and results shared by deposits and withdrawals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from machines_mcp.partner.vocabulary import CODE
from machines_mcp.protocol.tool import Output, OutputPart, Text, UserInput
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.tools.lists import PageSize
from machines_mcp.tools.text import pluralize

if TYPE_CHECKING:
    from machines_mcp.partner import AssetList


Ticker = Field(pattern=CODE, description="Ticker from the asset list, as usdc", examples=["usdc"])
NetworkId = Field(pattern=CODE, description="Its network id, as base", examples=["base"])


class ListAssets(UserInput):
    query: Text | None = Field(default=None, min_length=1, max_length=60, description="Ticker or name")
    limit: PageSize = 20


class NetworkOutput(OutputPart):
    id: str | None = Field(default=None, description="Give as network")
    label: ForeignText | None = None
    takes_memo: bool | None = None


class AssetOutput(OutputPart):
    currency: str | None = Field(default=None, description="Ticker: give as currency")
    name: ForeignText | None = None
    networks: list[NetworkOutput]


class AssetListOutput(Output):
    assets: list[AssetOutput]

    def summary(self) -> str:
        return f"{pluralize(len(self.assets), 'currency', 'currencies')} available."


def asset_outputs(found: AssetList) -> list[AssetOutput]:
    """Convert the API's assets to output models with cleaned text."""
    return [
        AssetOutput(
            currency=asset.ticker,
            name=ForeignText.of(asset.name, 80),
            networks=[
                NetworkOutput(
                    id=network.id,
                    label=ForeignText.of(network.label, 80),
                    takes_memo=network.supports_extra_id,
                )
                for network in asset.networks
            ],
        )
        for asset in found.assets
    ]
