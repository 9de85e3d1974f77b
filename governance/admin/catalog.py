"""Page of the rules in force: the active policy set. Read only."""

from __future__ import annotations

from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.cedar import lines
from governance.admin.layout import show
from governance.admin.pages import page
from identity.roles import Permission
from policy.models import PolicySet


@page(Permission.POLICY_READ)
def policy(visit: Visit) -> HttpResponse:
    """Show the active set, file by file, and the sets before it."""
    sets = list(PolicySet.objects.order_by("-version")[:50])
    active = next((one for one in sets if one.state == "active"), None)
    files = [(file, lines(file.text)) for file in active.files.order_by("position")] if active else []
    return show(
        visit, "console/policy.html", {"title": "Policy", "active": active, "files": files, "sets": sets}
    )
