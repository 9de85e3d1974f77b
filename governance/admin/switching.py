"""The workspace a person looks at: their choice for this session."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import WORKSPACE, Visit
from governance.admin.verbs import verb
from identity.place_selectors import places_of
from kernel.errors import NotFoundError


@verb(None, sees=None)
def switch(visit: Visit) -> HttpResponse:
    """Look at another workspace of one's own from now on; anybody else's is a 404."""
    wanted = visit.request.POST.get("workspace", "").replace("\0", "")
    if not places_of(visit.user.pk, visit.now).filter(pk=wanted).exists():
        raise NotFoundError("not_found", "There is no such workspace.")
    visit.request.session[WORKSPACE] = wanted
    return redirect("admin:index")
