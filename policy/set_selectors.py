"""What policy answers about its sets. Reads only."""

from __future__ import annotations

from django.db.models import QuerySet

from kernel.errors import NotFoundError
from policy.activation_rules import InForce, SimulationFacts
from policy.compilation import DOMAIN, SourceFile
from policy.lifecycle import SetState
from policy.models import PolicyFinding, PolicySet, SimulationRun
from policy.set_checking import SetText
from policy.types import Finding

ACTIVE = "active"
"""In place of a `pol_` id: the set in force."""


def policy_sets() -> QuerySet[PolicySet]:
    """Return all sets of all domains. They belong to the instance, not to a workspace."""
    return PolicySet.objects.prefetch_related("authors")


def require_set(set_id: str, *, domain: str = DOMAIN) -> PolicySet:
    """Return the set of this id, or the one in force for the alias `active`, or raise NotFoundError."""
    found = active_set(domain) if set_id == ACTIVE else PolicySet.objects.filter(pk=set_id).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such policy set.")
    return found


def active_set(domain: str = DOMAIN) -> PolicySet | None:
    """Return the set in force, or None when nothing is."""
    return PolicySet.objects.filter(domain=domain, state=SetState.ACTIVE).first()


def in_force(domain: str = DOMAIN) -> InForce:
    """Return which set is in force, empty texts for none."""
    active = active_set(domain)
    return InForce() if active is None else InForce(active.pk, active.hash or "")


def source_files(policy_set: PolicySet) -> tuple[SourceFile, ...]:
    """Return the files of a set in their order."""
    rows = policy_set.files.order_by("position").values_list("name", "text")
    return tuple(SourceFile(name, text) for name, text in rows)


def set_text(policy_set: PolicySet) -> SetText:
    """Return everything a set is made of, as a check reads it."""
    return SetText(
        files=source_files(policy_set),
        domain=policy_set.domain,
        schema_text=policy_set.schema_text,
        entities_json=policy_set.entities_json,
    )


def findings_of(policy_set: PolicySet) -> tuple[Finding, ...]:
    """Return what the last validation found, errors first, in the order of the text."""
    rows = PolicyFinding.objects.filter(policy_set=policy_set).order_by("severity", "file", "line", "column")
    return tuple(
        Finding(row.severity, row.code, row.file, row.policy_id, row.message, row.line, row.column)
        for row in rows
    )


def author_ids(policy_set: PolicySet) -> frozenset[str]:
    """Return everybody who brought text into the set."""
    return frozenset(policy_set.authors.values_list("pk", flat=True))


def simulation_facts(policy_set: PolicySet, number: int) -> SimulationFacts | None:
    """Return one simulation of a set as activation judges it, or None."""
    run = SimulationRun.objects.filter(policy_set=policy_set, number=number).first()
    if run is None:
        return None
    return SimulationFacts(
        number=run.number,
        state=run.state,
        draft_hash=run.draft_hash,
        against_set=run.against_set_id,
        against_hash=run.against_hash,
        asked=run.asked,
        available=run.available,
        total=run.total,
        loosened=run.loosened,
        finished_at=run.finished_at,
    )
