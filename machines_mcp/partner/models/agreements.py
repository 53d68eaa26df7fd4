"""Agreements between the user, Machines and the issuer."""

from __future__ import annotations

from typing import Literal

from machines_mcp.partner.models.base import RequestModel, ResponseModel
from machines_mcp.partner.models.types import Flag, Moment
from machines_mcp.redaction.verbatim import VerbatimField


class AgreementLink(ResponseModel):
    """A document that an agreement refers to."""

    label: str
    url: str


class Agreement(ResponseModel):
    """One agreement to accept."""

    id: VerbatimField
    text: str
    links: tuple[AgreementLink, ...] = ()


class Agreements(ResponseModel):
    """All agreements of a user. They are accepted together or not at all."""

    agreements: tuple[Agreement, ...]
    accepted: Flag
    accepted_at: Moment | None = None


class AgreementsAcceptance(RequestModel):
    """Body of `POST /agreements`."""

    accepted: Literal[True] = True
