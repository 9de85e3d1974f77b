"""What one process knows of the sets of other domains: compiled once, compared with the epoch each time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from policy.compilation import DOMAIN
from policy.domains import CompiledDomain, compile_domain
from policy.lifecycle import SetState
from policy.models import PolicySet
from policy.runtime import epoch_stamp
from policy.set_selectors import set_text
from policy.types import PolicySetRef

logger = logging.getLogger(__name__)

KEPT = 32
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class LoadedDomain:
    """A domain with a set in force. `compiled` is None when that set cannot be used: then all is denied."""

    ref: PolicySetRef
    compiled: CompiledDomain | None


_lock = Lock()
_held: dict[str, tuple[str, LoadedDomain | None]] = {}
_compiled: dict[tuple[str, str], CompiledDomain | None] = {}


def domain_in_force(name: str) -> LoadedDomain | None:
    """Return a domain as it stands at the epoch that the database shows now, or None for one without a set.

    Raises EpochMissingError before installation and lets database errors through. `palyra` is not among
    these domains: its facts are its own.
    """
    if name == DOMAIN:
        return None
    stamp = epoch_stamp()
    known = _held.get(name)
    if known is None or known[0] != stamp:
        known = (stamp, _load(name))
        with _lock:
            _trim(_held)
            _held[name] = known
    return known[1]


def _load(name: str) -> LoadedDomain | None:
    active = PolicySet.objects.filter(domain=name, state=SetState.ACTIVE).first()
    if active is None:
        return None
    ref = PolicySetRef(active.pk, active.version, active.hash or "")
    return LoadedDomain(ref, _of(active, ref))


def _of(active: PolicySet, ref: PolicySetRef) -> CompiledDomain | None:
    """Return the set of this id and hash; compiled under a lock, failures remembered."""
    key = (ref.id, ref.hash)
    with _lock:
        if key not in _compiled:
            _trim(_compiled)
            _compiled[key] = _compile(active, ref)
        return _compiled[key]


def _compile(active: PolicySet, ref: PolicySetRef) -> CompiledDomain | None:
    text = set_text(active)
    found = compile_domain(text.files, text.schema_text, text.entities_json, ref=ref)
    if isinstance(found, CompiledDomain):
        return found
    for finding in found:
        logger.error("policy set %s, %s: %s", active.pk, finding.policy_id, finding.message)
    return None


def _trim(kept: dict[K, V]) -> None:
    while len(kept) >= KEPT:
        kept.pop(next(iter(kept)))
