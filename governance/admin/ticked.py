"""A verb on several ticked rows of a list: each is done by itself, and one refusal keeps no other waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from governance.admin.access import Visit
from identity.inserting import invalid
from kernel.errors import PalyraError
from kernel.ids import is_id

MOST_AT_ONCE = 50


def ticked_ids(visit: Visit, name: str, prefix: str) -> list[str]:
    """Return the posted ids of this kind, each once, in their order; what is no such id is left out."""
    named = dict.fromkeys(visit.request.POST.getlist(name))
    return [one for one in named if is_id(prefix, one)]


def each_of(ids: Sequence[str], pointer: str, act: Callable[[str], object], done: str) -> str:
    """Do `act` to every id and return how many were done, and why the others were not.

    InvalidError at `pointer` for none or more than 50. A missing code or sign-in stops the whole of it: it
    is missing for all.
    """
    if not 1 <= len(ids) <= MOST_AT_ONCE:
        raise invalid(pointer, "number", f"Tick 1 to {MOST_AT_ONCE} rows.")
    refusals: list[PalyraError] = []
    for one in ids:
        try:
            act(one)
        except PalyraError as refusal:
            if refusal.status == 401:
                raise
            refusals.append(refusal)
    reasons = Counter(refusal.detail or refusal.code for refusal in refusals)
    others = "".join(f" {count} not: {reason}" for reason, count in reasons.most_common())
    return f"{len(ids) - len(refusals)} of {len(ids)} {done}.{others}"
