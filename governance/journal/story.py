"""The events that tell of one call: its own, and those of others without which it cannot be understood."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from governance.journal.chain import leaf_hash
from governance.journal.models import JournalEvent

MOST_EVENTS = 2_000
"""More events than this tell of no call; about one that has more no evidence is handed out."""


@dataclass(frozen=True, slots=True)
class Threads:
    """By what the events of a call are found. `answers` are ids of requests and grants."""

    call: str
    run: str
    answers: tuple[str, ...] = ()
    policy_set: str | None = None


def story_of(threads: Threads) -> QuerySet[JournalEvent]:
    """Return, in the order of their ids, all events of the call and those that stand behind it.

    Behind it stand the opening of its run, the activation of the rules that decided, and what became of
    its answers; what other calls did with the same answers is theirs. Refused attempts to answer are left
    out: whoever makes many of them would decide how long the story is.
    """
    opened = Q(run_id=threads.run, run_seq=1, type="run.opened")
    kinds = Q(type__startswith="approval.") | Q(type__startswith="grant.")
    answered = Q(subject__in=threads.answers, call_id__isnull=True) & kinds
    activated = Q(subject=threads.policy_set or "", type="policy.activated")
    rows = JournalEvent.objects.filter(Q(call_id=threads.call) | opened | answered | activated)
    return rows.order_by("id")[:MOST_EVENTS]


def leaves_digest(envelopes: Iterable[bytes]) -> str:
    """Return the hex SHA-256 over the leaf hashes of these envelopes, in their order."""
    return hashlib.sha256(b"".join(map(leaf_hash, envelopes))).hexdigest()
