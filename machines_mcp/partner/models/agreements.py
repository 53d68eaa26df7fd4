"""Agreements between the user, Machines and the issuer."""

from __future__ import annotations

from typing import Literal

from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.types import Flag, Moment, OwnId, Rows


class AgreementLink(ResponseModel):
    """A document that an agreement refers to."""

    label: str = documented("")
    url: str = documented("")


class Agreement(ResponseModel):
    """One agreement to accept."""

    id: OwnId | None = documented()
    text: str = documented("")
    links: Rows[AgreementLink] = ()


class Agreements(ResponseModel):
    """All agreements of a user. They are accepted together or not at all."""

    agreements: Rows[Agreement]
    accepted: Flag
    accepted_at: Moment | None = None


class AgreementsAcceptance(RequestModel):
    """Body of `POST /agreements`."""

    accepted: Literal[True] = True
