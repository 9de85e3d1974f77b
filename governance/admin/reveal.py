"""A secret on its one page: in the answer to the post that made it, and in nothing that is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.layout import show


@dataclass(frozen=True, slots=True)
class Secret:
    """What is revealed, what it is for, and where the person goes on."""

    title: str
    lead: str
    text: str = field(repr=False)
    label: str
    back: str
    back_word: str


def reveal(visit: Visit, secret: Secret) -> HttpResponse:
    """Return the page that holds the secret once. It is never stored, in no history and no session."""
    answer = show(visit, "console/reveal.html", {"title": secret.title, "secret": secret})
    answer["Cache-Control"] = "no-store"
    return answer
