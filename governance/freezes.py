"""Freezes: what stands, what it covers, and the two sides of the lock that makes it sharp.

Whoever lets something start (gate 2, a claim, an allow) holds the lock together with others until its
transaction ends; whoever sets a freeze holds it alone. So every start that did not see the freeze was
committed before the freeze was, and none is committed after it. The lock comes after a run's row and is
the first that a setter takes; a setter touches runs only after its freeze is committed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, connection, transaction
from django.db.models import Q, QuerySet

from approvals.models import ApprovalRequest
from governance.call_state import OPEN_STATES, CallState
from governance.freeze_scopes import ALLOWED, FreezeScope, Standing, Work, covering
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import Freeze, Run, ToolCall
from governance.selectors import state_filter
from identity.models import Workspace
from identity.roles import Permission
from identity.selectors import INSTANCE
from identity.types import Principal, PrincipalKind
from kernel.errors import ConflictError, NotFoundError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition
from policy.catalog import short_name
from sandbox.models import Execution
from sandbox.skills import selectors as skill_selectors

_LOCK = 0x70616C79_667265
"""The key of the advisory lock in this database; the sealer has another."""
_PEOPLE_ASK = frozenset({"user"})


def hold_off_freezes() -> None:
    """Keep a freeze from being set until the transaction ends; others may hold this too.

    SQLite has one writer at a time, so there the transaction itself is the lock.
    """
    _lock("pg_advisory_xact_lock_shared")


def hold_off_starts() -> None:
    """Wait for everything that is about to start, and keep more from starting until the transaction ends."""
    _lock("pg_advisory_xact_lock")


def _lock(function: str) -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("the lock of freezes belongs into a transaction")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s)", [_LOCK])


def freeze_over(
    *, run: Run, agent_id: str, tool: str, raw_input: object, since: datetime | None = None
) -> Standing | None:
    """Return the freeze that stops a call of this tool, or None. Who lets it start holds off others first.

    With `since`, the moment from which the call has waited in the queue, a freeze counts too that was
    lifted after it: what a freeze found in the queue never fires. Database errors pass through.
    """
    hold_off_freezes()
    found = _standing(run.workspace_id, since)
    if not found:
        return None
    skill = skill_selectors.resolve(tool, raw_input) if _names_a_skill(found) else None
    return covering(
        found,
        Work(
            agent_id=agent_id,
            run_id=run.id,
            device_id=run.device_id,
            tool=short_name(tool),
            skill_id=skill.skill_id if skill else "",
        ),
    )


def require_unfrozen(request: ApprovalRequest) -> None:
    """Raise RefusedError `frozen` when a freeze stops what this request would let start."""
    hold_off_freezes()
    freeze = freeze_over_request(request)
    if freeze is not None:
        raise RefusedError(
            "frozen",
            f"A freeze of {freeze.words} is in force; the request may be denied or cancelled.",
            extra={"freeze": freeze.id},
        )


def freeze_over_request(request: ApprovalRequest) -> Standing | None:
    """Return the freeze that keeps this request from being allowed, or None.

    A freeze stops the work of agents. What a person asks for outside of any run, such as putting rules in
    force, is how the installation is put right, and goes on.
    """
    if request.requester_kind in _PEOPLE_ASK and not request.run_id:
        return None
    subject = request.subject_label.partition(":")[2].partition("@")[0]
    work = Work(
        agent_id=request.requester_id,
        run_id=request.run_id,
        device_id=request.device_id,
        tool=short_name(request.tool or subject),
        skill_id=request.skill_id,
    )
    return covering(_standing(request.workspace_id, None), work)


def _standing(workspace_id: str, since: datetime | None) -> tuple[Standing, ...]:
    counts = Q(state="active") if since is None else Q(state="active") | Q(lifted_at__gt=since)
    rows = Freeze.objects.filter(counts, _reaching(workspace_id)).order_by("id")
    return tuple(Standing(*row) for row in rows.values_list("id", "scope", "scope_id"))


def _reaching(workspace_id: str) -> Q:
    """A freeze stands in one workspace, or in `instance` and then for all of them."""
    return Q(workspace_id=workspace_id) | Q(workspace_id__in=_instance())


def _instance() -> QuerySet[Workspace, str]:
    return Workspace.objects.filter(slug=INSTANCE).values_list("pk", flat=True)


def _names_a_skill(freezes: tuple[Standing, ...]) -> bool:
    return any(freeze.scope == FreezeScope.SKILL for freeze in freezes)


def calls_under(freeze: Freeze) -> QuerySet[ToolCall]:
    """Return every call that this freeze covers, whatever its state."""
    rows = ToolCall.objects.all()
    if not reaches_everywhere(freeze):
        rows = rows.filter(workspace_id=freeze.workspace_id)
    column = {
        FreezeScope.AGENT: "principal_id",
        FreezeScope.TOOL: "tool_name__iexact",
        FreezeScope.SKILL: "skill__skill_id",
        FreezeScope.DEVICE: "run__device_id",
        FreezeScope.RUN: "run_id",
    }.get(FreezeScope(freeze.scope))
    return rows if column is None else rows.filter(**{column: freeze.scope_id})


def runs_to_stop(freeze: Freeze, limit: int) -> tuple[str, ...]:
    """Return the runs in which this freeze still has something to refuse or to kill, running ones first."""
    killable = Execution.objects.filter(state="running", cancel_requested_at__isnull=True)
    running = _runs_of(freeze, killable, limit) if freeze.kill_running else ()
    queued = _runs_of(freeze, Execution.objects.filter(state="queued"), limit)
    return tuple(dict.fromkeys((*running, *queued)))[:limit]


def runs_hit(freeze: Freeze, limit: int) -> tuple[str, ...]:
    """Return the runs that have a call under this freeze which has not ended."""
    rows = calls_under(freeze).filter(state_filter(sorted(OPEN_STATES)))
    hit = tuple(rows.order_by("run_id").values_list("run_id", flat=True).distinct()[:limit])
    return hit or ((freeze.scope_id,) if freeze.scope == FreezeScope.RUN else ())


def calls_to_stop(freeze: Freeze, run_id: str) -> QuerySet[ToolCall]:
    """Return the calls of a run that this freeze refuses in the queue or kills."""
    states = [CallState.QUEUED, CallState.RUNNING] if freeze.kill_running else [CallState.QUEUED]
    return calls_under(freeze).filter(state_filter(states), run_id=run_id).order_by("id")


def runs_told(freeze: Freeze, limit: int) -> tuple[str, ...]:
    """Return the open runs whose stream says that this freeze hit them."""
    told = JournalEvent.objects.filter(subject=freeze.id, type="run.frozen").values("run_id")
    return tuple(Run.objects.filter(id__in=told, state="open").values_list("id", flat=True)[:limit])


def is_told(freeze: Freeze, run_id: str) -> bool:
    return JournalEvent.objects.filter(subject=freeze.id, type="run.frozen", run_id=run_id).exists()


def reaches_everywhere(freeze: Freeze) -> bool:
    """Tell whether the freeze stands for every workspace."""
    return freeze.workspace_id in instance_ids()


def instance_ids() -> frozenset[str]:
    """Return the workspace, if it is there, whose freezes stand for all."""
    return frozenset(_instance())


def _runs_of(freeze: Freeze, executions: QuerySet[Execution], limit: int) -> tuple[str, ...]:
    rows = calls_under(freeze).filter(id__in=executions.values("call_id"))
    return tuple(rows.order_by("run_id").values_list("run_id", flat=True).distinct()[:limit])


def visible_freezes(principal: Principal) -> QuerySet[Freeze]:
    """Return the freezes this principal may know of: a person those that reach their workspace, an
    agent those that may stop it."""
    if Permission.RUNS_READ not in principal.permissions:
        return Freeze.objects.none()
    if principal.kind is PrincipalKind.USER and principal.instance_roles:
        return Freeze.objects.all()
    rows = Freeze.objects.filter(_reaching(principal.workspace_id))
    if principal.kind is PrincipalKind.USER:
        return rows
    own_runs = Run.objects.filter(principal_id=principal.id).values("id")
    return rows.filter(
        Q(scope__in=[FreezeScope.GLOBAL, FreezeScope.TOOL, FreezeScope.SKILL])
        | Q(scope=FreezeScope.AGENT, scope_id=principal.id)
        | Q(scope=FreezeScope.DEVICE, scope_id=principal.device_id or "-")
        | Q(scope=FreezeScope.RUN, scope_id__in=own_runs)
    )


def require_freeze(principal: Principal, freeze_id: str) -> Freeze:
    """Return a visible freeze, or raise NotFoundError."""
    freeze = visible_freezes(principal).filter(id=freeze_id).first()
    if freeze is None:
        raise NotFoundError("not_found", "There is no such freeze.")
    return freeze


@dataclass(frozen=True, slots=True)
class LiftRequest:
    """Somebody asked that a freeze be lifted. `reason` is empty when it was erased."""

    by: str
    at: datetime
    reason: str


def lift_requests(freeze: Freeze) -> tuple[LiftRequest, ...]:
    """Return who asked that this freeze be lifted, and why, in their order."""
    rows = JournalEvent.objects.filter(subject=freeze.id, type="freeze.lift_requested").order_by("id")
    return tuple(LiftRequest(row.actor, row.time, str(open_data(row).get("reason", ""))) for row in rows)


def set_freeze(
    *,
    scope: FreezeScope,
    scope_id: str,
    workspace_id: str,
    reason: str,
    kill_running: bool,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Freeze:
    """Freeze a scope; from the commit on nothing under it starts. ConflictError when it is frozen."""
    hold_off_starts()
    try:
        with transaction.atomic():
            freeze = Freeze.objects.create(
                id=new_id("frz", now),
                scope=scope,
                scope_id=scope_id,
                workspace_id=workspace_id,
                reason=reason,
                kill_running=kill_running,
                set_by=actor.id,
                set_at=now,
            )
    except IntegrityError as error:
        raise ConflictError("conflict", "This scope is frozen already.") from error
    record(
        event="freeze.set",
        actor=actor,
        subject=freeze.id,
        now=now,
        data={**_named(freeze), "reason": reason, "kill_running": kill_running},
    )
    return freeze


def lift_freeze(
    *, freeze: Freeze, reason: str, single_operator: bool, actor: Actor, now: datetime, record: Record
) -> Freeze:
    """Let work under this scope start again. ConflictError `state_changed` when it was lifted already."""
    transition(
        Freeze.objects.filter(id=freeze.id),
        ALLOWED,
        source="active",
        target="lifted",
        lifted_by=actor.id,
        lifted_at=now,
        lift_reason=reason,
        single_operator=single_operator,
        version=freeze.version + 1,
    )
    record(
        event="freeze.lifted",
        actor=actor,
        subject=freeze.id,
        now=now,
        data={**_named(freeze), "reason": reason, "single_operator": single_operator},
    )
    freeze.refresh_from_db()
    return freeze


def _named(freeze: Freeze) -> dict[str, str]:
    return {"scope": freeze.scope, "scope_id": freeze.scope_id, "workspace": freeze.workspace_id}
