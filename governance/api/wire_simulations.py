"""How simulations, shadows and jobs travel."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from governance.models import Job
from kernel.clock import wire_time
from policy.lifecycle import SetState
from policy.models import PolicySet, ShadowResult, SimulationFlip, SimulationRun

FLIP_COLUMNS = (
    "direction",
    "old_effect",
    "new_effect",
    "resource_id",
    "principal_id",
    "call_id",
    "record_id",
    "old_policies",
    "new_policies",
    "exact",
    "decided_at",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render_simulation(run: SimulationRun) -> dict[str, Any]:
    """Return a simulation with its counts; `against` is what was in force when it began."""
    return {
        "id": f"{run.policy_set_id}/{run.number}",
        "object": "policy_simulation",
        "policy_set": run.policy_set_id,
        "number": run.number,
        "state": run.state,
        "asked": run.asked,
        "draft_hash": run.draft_hash,
        "against": {"id": run.against_set_id, "hash": run.against_hash},
        "epoch": run.epoch,
        "available": run.available,
        "total": run.total,
        "done": run.done,
        "unchanged": run.unchanged,
        "loosened": run.loosened,
        "tightened": run.tightened,
        "reason_only": run.reason_only,
        "inexact": run.inexact,
        "failed": run.failed,
        "matrix": run.matrix,
        "job_id": run.job_id,
        "error_code": run.error_code or None,
        "started_by": run.started_by,
        "created_at": wire_time(run.created_at),
        "finished_at": wire_time(run.finished_at),
    }


def render_flip(flip: SimulationFlip) -> dict[str, Any]:
    return {
        "id": str(flip.pk),
        "object": "policy_flip",
        "direction": flip.direction,
        "record_id": flip.record_id,
        "call_id": flip.call_id,
        "principal_id": flip.principal_id,
        "resource_id": flip.resource_id,
        "old_effect": flip.old_effect,
        "new_effect": flip.new_effect,
        "old_policies": flip.old_policies,
        "new_policies": flip.new_policies,
        "exact": flip.exact,
        "decided_at": wire_time(flip.decided_at),
    }


def flips_as_csv(flips: Iterable[SimulationFlip]) -> str:
    """Return flips for a spreadsheet; no cell is a formula there, whatever an agent called its things."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(FLIP_COLUMNS)
    for flip in flips:
        row = render_flip(flip)
        writer.writerow([_cell(row[name]) for name in FLIP_COLUMNS])
    return text.getvalue()


def render_shadow(policy_set: PolicySet) -> dict[str, Any]:
    """Return whether a set is in shadow. Once it is in force it is no shadow any more."""
    enabled = policy_set.shadow_since is not None and policy_set.state == SetState.VALIDATED
    return {
        "id": policy_set.pk,
        "object": "policy_shadow",
        "enabled": enabled,
        "since": wire_time(policy_set.shadow_since) if enabled else None,
    }


def render_shadow_result(row: ShadowResult) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "object": "policy_shadow_result",
        "hour": wire_time(row.hour),
        "old_effect": row.old_effect,
        "new_effect": row.new_effect,
        "count": row.count,
        "errors": row.errors,
        "examples": row.examples,
    }


def render_job(job: Job) -> dict[str, Any]:
    """Return a job; `total` is null while nobody knows it."""
    return {
        "id": job.id,
        "object": "job",
        "kind": job.kind,
        "state": job.state,
        "subject": job.subject,
        "done": job.done,
        "total": job.total,
        "message": job.message,
        "result": job.result,
        "error_code": job.error_code or None,
        "cancel_asked": job.cancel_asked,
        "started_by": job.started_by,
        "created_at": wire_time(job.created_at),
        "started_at": wire_time(job.started_at),
        "finished_at": wire_time(job.finished_at),
    }


def _cell(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
