"""Reads of jobs: who may see which is the permission of their kind."""

from __future__ import annotations

from django.db.models import QuerySet

from governance.jobs.kinds import KINDS
from governance.jobs.lifecycle import OPEN
from governance.models import Job
from identity.types import Principal
from kernel.errors import NotFoundError, RefusedError


def visible_jobs(principal: Principal) -> QuerySet[Job]:
    """Return the jobs of the kinds this principal may start, in its workspace or, for the instance, anywhere.

    RefusedError `role_required` for somebody who may start none.
    """
    kinds = [name for name, kind in KINDS.items() if kind.permission in principal.permissions]
    if not kinds:
        raise RefusedError("role_required", "This needs the permission of some kind of job.")
    rows = Job.objects.filter(kind__in=kinds)
    return rows if principal.instance_roles else rows.filter(workspace_id=principal.workspace_id)


def require_job(principal: Principal, job_id: str) -> Job:
    """Return a visible job, or raise NotFoundError; a foreign id answers like an unknown one."""
    job = visible_jobs(principal).filter(pk=job_id).first()
    if job is None:
        raise NotFoundError("not_found", "There is no such job.")
    return job


def has_ended(job_id: str) -> bool:
    """Tell whether a job has ended, or is gone."""
    return not Job.objects.filter(pk=job_id, state__in=OPEN).exists()
