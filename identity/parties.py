"""Who had a hand in what acts here. Separation of duties asks for more people than the owner.

Whoever holds a token acts as its principal. People who minted or rotated it have read it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from identity.models import Agent, ApiToken
from identity.types import Principal, PrincipalKind

MINTER = "minter"
REGISTRANT = "registrant"
FORMER_OWNER = "former_owner"


@dataclass(frozen=True, slots=True)
class Parties:
    """`minter` made the very token, empty for one of the bootstrap; `others` maps ids to relations."""

    minter: str = ""
    others: Mapping[str, str] = field(default_factory=dict)


def parties_to(principal: Principal) -> Parties:
    """Return the people who could act as this principal, its owner not counted.

    Everybody who minted or rotated a token of the line it came with, but for the first tokens of the
    instance, which nobody minted; and those who registered its agent, owned it or gave it away.
    """
    line = _line_of(principal)
    mine = next((token for token in line if token.pk == principal.token_id), None)
    others = {token.minted_by: MINTER for token in line if not token.from_bootstrap}
    others |= parties_of_agent(principal.id) if principal.kind is PrincipalKind.AGENT else {}
    minter = "" if mine is None or mine.from_bootstrap else mine.minted_by
    return Parties(minter, {person: part for person, part in others.items() if person != minter})


def parties_of_agent(agent_id: str) -> dict[str, str]:
    """Return who registered the agent, owned it or gave it away; nothing for an unknown one."""
    found = Agent.objects.filter(pk=agent_id).values_list("parties", flat=True).first()
    return dict(found or {})


def _line_of(principal: Principal) -> list[ApiToken]:
    family = ApiToken.objects.filter(pk=principal.token_id).values("family")
    return list(ApiToken.objects.filter(family__in=family)) if principal.token_id else []
