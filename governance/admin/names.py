"""Names of people and agents for lists: many ids, two queries."""

from __future__ import annotations

from collections.abc import Iterable

from identity.models import Agent, User


def names_of(ids: Iterable[str | None]) -> dict[str, str]:
    """Return a display name for every id that names a person or an agent."""
    wanted = {one for one in ids if one}
    agents = Agent.objects.filter(pk__in=[one for one in wanted if one.startswith("agt_")])
    people = User.objects.filter(pk__in=[one for one in wanted if one.startswith("usr_")])
    return {row.pk: str(row) for row in (*agents, *people)}
