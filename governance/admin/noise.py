"""The page of the week's questions: who asks most, and which pattern would spare them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import reverse

from governance import noise as week
from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.noise import MOST_ASKS, Noise
from identity.roles import Permission


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """The questions of one agent about one tool, and where a pattern for them is chosen."""

    noise: Noise
    agent: str
    url: str


@page(Permission.APPROVALS_READ)
def noise(visit: Visit) -> HttpResponse:
    """Show which patterns would have spared most questions of the last seven days."""
    found = week.noise(visit.principal, visit.now)
    names = names_of(one.agent_id for one in found.rows)
    return show(
        visit,
        "console/noise.html",
        {
            "title": "Noise",
            "rows": [_row(one, names.get(one.agent_id, one.agent_id)) for one in found.rows],
            "is_cut": found.is_cut,
            "most": MOST_ASKS,
        },
    )


def _row(one: Noise, agent: str) -> NoiseRow:
    """Lead to the question that waits, or to the inbox as it will show the next one."""
    if one.pending_id:
        return NoiseRow(one, agent, reverse("admin:approval", kwargs={"request_id": one.pending_id}))
    query = urlencode({"tab": "pending", "agent": agent, "tool": one.tool})
    return NoiseRow(one, agent, f"{reverse('admin:approvals')}?{query}")
