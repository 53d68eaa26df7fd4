"""Agreements between the user, Machines and the issuer."""

from __future__ import annotations

from typing import Literal

from machines_mcp.partner.models.base import Answer, Body
from machines_mcp.partner.models.types import Flag, Moment
from machines_mcp.redaction.verbatim import VerbatimField


class AgreementLink(Answer):
    """A document that an agreement refers to."""

    label: str
    url: str


class Agreement(Answer):
    """One agreement to accept."""

    id: VerbatimField
    text: str
    links: tuple[AgreementLink, ...] = ()


class Agreements(Answer):
    """All agreements of a user. They are accepted together or not at all."""

    agreements: tuple[Agreement, ...]
    accepted: Flag
    accepted_at: Moment | None = None


class AgreementsAcceptance(Body):
    """Body of `POST /agreements`."""

    accepted: Literal[True] = True
