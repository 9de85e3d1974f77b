"""A posted form taken to its verb once: a second click, or the back button, gets the first answer."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from governance import idempotency
from governance.admin.access import Visit
from governance.idempotency import Replay, Ticket
from kernel.errors import PalyraError

_INTENT = re.compile(r"[0-9a-f]{32}")
INCOMPLETE = "The form is not complete; send it from this page."
_WORDS = {
    "idempotency_in_progress": "The same form is being worked on; reload the page.",
    "idempotency_key_reused": "This form was sent before with other values; open the page again.",
    "idempotency_outcome_unknown": "What became of this form is not known; look before you send it again.",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a person is told about a posted form; `status` is the HTTP status of a refusal, else 200.

    `object_id` names what was made. `secret` is there in the first answer only and is stored nowhere.
    """

    sentence: str
    status: int = 200
    object_id: str | None = None
    refusal: PalyraError | None = None
    secret: str = field(default="", repr=False)

    @property
    def is_done(self) -> bool:
        return self.status < 400


Work = Callable[[Ticket], Told]
Say = Callable[[PalyraError], str]


def new_intent() -> str:
    """Return what one rendering of a form carries, so that it is worked on once."""
    return secrets.token_hex(16)


def has_intent(visit: Visit) -> bool:
    """Tell whether the post carries the intent of a rendered form."""
    return _INTENT.fullmatch(visit.request.POST.get("intent", "")) is not None


def sentence_of(refusal: PalyraError) -> str:
    """Return what a person is told about a refusal when the page has no better words."""
    return _WORDS.get(refusal.code) or refusal.detail or refusal.code


def once(
    visit: Visit, *, route: str, fields: Mapping[str, object], work: Work, say: Say = sentence_of
) -> Told:
    """Do `work` once for each rendering of a form; a repeated post is told what the first was told.

    `fields` are what the form asks for, without the one-time code. A refusal is an answer too and
    comes back in `Told`; 401, 429 and failures of the server are not kept, so that the same form may be sent
    again with a code, or later.
    """
    if not has_intent(visit):
        return Told(INCOMPLETE, 422)
    try:
        begun = idempotency.begin(
            principal_id=visit.principal.id,
            route=f"console {route}",
            key=visit.request.POST["intent"],
            body=dict(fields),
            now=visit.now,
        )
        if isinstance(begun, Replay):
            return Told(str(begun.body.get("sentence", "")), begun.status, begun.object_id)
        return _first(begun, work, say)
    except PalyraError as refusal:
        return Told(say(refusal), refusal.status, refusal=refusal)


def _first(ticket: Ticket, work: Work, say: Say) -> Told:
    told = idempotency.attempt(ticket, work, lambda refusal: {"sentence": say(refusal)})
    idempotency.store(ticket, status=told.status, body={"sentence": told.sentence}, object_id=told.object_id)
    return told
