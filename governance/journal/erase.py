"""Erasure: the keys of a subject and of all its runs are destroyed, and its words leave every other row.

What is signed stays: envelopes, salted digests, leaves and attestations prove as before. A digest whose
salt is gone can no longer be guessed. Everything here runs inside the caller's transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, OuterRef, Subquery

from approvals import erasing as approvals
from governance import erased_rows as rows
from governance.journal import holds
from governance.journal.models import JournalPayload, JournalSubjectKey
from governance.labelling import holder_of, own_holder
from governance.models import Run, ToolCall
from identity import erasing as identity
from identity.models import Agent, User
from identity.selectors import INSTANCE, workspace_by_slug
from kernel.clock import wire_time
from kernel.errors import ConflictError, NotFoundError
from kernel.record import Actor, Record
from policy import erasing as policy
from sandbox import erasing as sandbox

CHUNK = 500
RUN, AGENT, USER = "run", "agent", "user"


@dataclass(frozen=True, slots=True)
class Reach:
    """What an erasure takes in: a run, or an agent or a person with every run of theirs.

    `workspace_id` is where it must be permitted: that of all its runs, else `instance`.
    """

    kind: str
    subject: str
    workspace_id: str
    runs: tuple[str, ...]

    @property
    def principal_id(self) -> str:
        """The agent or person; empty for a run, whose principal stays."""
        return "" if self.kind == RUN else self.subject


def reach_of(subject: str) -> Reach:
    """Return what an erasure of this `run_…`, `agt_…` or `usr_…` takes in now; NotFoundError for nothing."""
    prefix = subject.partition("_")[0]
    if prefix == "usr" and User.objects.filter(pk=subject).exists():
        return Reach(USER, subject, workspace_by_slug(INSTANCE).pk, _runs_of(subject))
    if prefix == "agt":
        for home in Agent.objects.filter(pk=subject).values_list("workspace_id", flat=True):
            return Reach(AGENT, subject, _place_of(subject, home), _runs_of(subject))
    if prefix == "run":
        for home in Run.objects.filter(pk=subject).values_list("workspace_id", flat=True):
            return Reach(RUN, subject, home, (subject,))
    raise NotFoundError("not_found", "There is nothing of this id that could be erased.")


def hold(reach: Reach, now: datetime) -> Reach:
    """Hold the subject and its runs, and return its reach as it is now.

    Raises ConflictError `erasure_still_active` while it can write new records (an active agent or person,
    an open run, a call that is queued, running or waits for a person), `legal_hold` under a hold.
    """
    if reach.kind == USER:
        identity.require_still_person(reach.subject)
    if reach.kind == AGENT:
        identity.require_still_agent(reach.subject)
    held = reach_of(reach.subject)
    for some in _chunks(held.runs):
        _hold_runs(some)
    if held.principal_id and approvals.is_waiting(requester_id=held.principal_id):
        raise _active("A question of it waits for an answer.")
    _require_no_hold(held, now)
    return held


def erase(
    reach: Reach,
    *,
    reason: str,
    request_id: str,
    single_operator: bool,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Mapping[str, int]:
    """Erase what is held, record `journal.subject_erased`, and return the counts it holds."""
    mark = {"_erased": True, "at": wire_time(now)}
    done: Counter[str] = Counter(runs=len(reach.runs))
    for some in _chunks(reach.runs):
        _erase_runs(some, mark, done, actor=actor, now=now, record=record)
    if reach.principal_id:
        _erase_principal(reach, mark, done, actor=actor, now=now, record=record)
    else:
        policy.erase_marks(_holders_of(reach.runs))
    keys = [pk for some in _chunks((reach.subject, *reach.runs)) for pk in _keys_of(some)]
    done["keys"] = len(keys)
    counts = {name: done[name] for name in ("keys", "runs", "calls", "approvals", "decisions", "account")}
    event = record(
        event="journal.subject_erased",
        actor=actor,
        subject=reach.subject,
        now=now,
        data={
            "reason": reason,
            "approval": request_id,
            "single_operator": single_operator,
            "counts": counts,
        },
    )
    for destroyed in _chunks(keys):
        _destroy(destroyed, event, now)
    return counts


def _erase_runs(
    runs: Sequence[str],
    mark: rows.Mark,
    done: Counter[str],
    *,
    actor: Actor,
    now: datetime,
    record: Record,
) -> None:
    asked = list(approvals.requests_of(runs=runs).values_list("pk", flat=True))
    for some in _chunks(asked):
        done["approvals"] += approvals.erase_requests(some, mark=mark, actor=actor, now=now, record=record)
        rows.erase_answers([*some, *approvals.hanging_on(some)])
    calls = list(ToolCall.objects.filter(run_id__in=runs).values_list("pk", flat=True))
    for some in _chunks(calls):
        done["calls"] += rows.erase_calls(some, mark)
        done["decisions"] += policy.erase_decisions(some)
        rows.erase_answers(some)
    sandbox.erase_executions(runs)
    rows.erase_answers(runs)
    rows.erase_runs(runs)


def _erase_principal(
    reach: Reach, mark: rows.Mark, done: Counter[str], *, actor: Actor, now: datetime, record: Record
) -> None:
    asked = list(approvals.requests_of(requester_id=reach.subject).values_list("pk", flat=True))
    for some in _chunks(asked):
        done["approvals"] += approvals.erase_requests(some, mark=mark, actor=actor, now=now, record=record)
        rows.erase_answers([*some, *approvals.hanging_on(some)])
    done["decisions"] += policy.erase_decisions_about(reach.subject)
    rows.erase_answers((), reach.subject)
    policy.erase_marks([*rows.erase_conversations(reach.subject), *_own_holders(reach.subject)])
    if reach.kind == AGENT:
        done["account"] = identity.erase_agent(reach.subject)
        return
    approvals.forget_places(reach.subject)
    done["account"] = identity.erase_person(reach.subject, now, record) + rows.erase_mails(reach.subject)


def _hold_runs(runs: Sequence[str]) -> None:
    held = Run.objects.select_for_update().filter(pk__in=runs).order_by("pk")
    if any(state == "open" for state in held.values_list("state", flat=True)):
        raise _active("A run of it is open.")
    if sandbox.is_open(runs):
        raise _active("A call of it is queued or running.")
    if approvals.is_waiting(runs=runs):
        raise _active("A question of it waits for an answer.")


def _active(sentence: str) -> ConflictError:
    return ConflictError("erasure_still_active", sentence)


def _require_no_hold(reach: Reach, now: datetime) -> None:
    period = _period_of(reach, now)
    for some in [*_chunks(reach.runs), ()]:
        found = holds.standing(reach.subject, some, period)
        if found is not None:
            raise ConflictError("legal_hold", "A legal hold stands against this.", extra={"hold": found.pk})


def _period_of(reach: Reach, now: datetime) -> tuple[datetime, datetime] | None:
    """Return from when to when something was written under the keys, None when there are none.

    What was archived away is no row any more: a key that has no event left may have had one until now.
    """
    since: list[datetime] = []
    until: list[datetime] = []
    under = JournalPayload.objects.filter(key=OuterRef("pk")).order_by().values("key")
    newest = under.annotate(last=Max("event__time")).values("last")
    for some in _chunks((reach.subject, *reach.runs)):
        keys = JournalSubjectKey.objects.filter(subject__in=some, destroyed_at__isnull=True)
        for first, last in keys.annotate(last=Subquery(newest)).values_list("created_at", "last"):
            since.append(first)
            until.append(last or now)
    return (min(since), max(until)) if since else None


def _keys_of(subjects: Sequence[str]) -> list[str]:
    live = JournalSubjectKey.objects.filter(subject__in=subjects, destroyed_at__isnull=True)
    return list(live.order_by("pk").values_list("pk", flat=True))


def _destroy(keys: Sequence[str], event: str, now: datetime) -> None:
    JournalSubjectKey.objects.filter(pk__in=keys).update(
        wrapped_key=None, destroyed_at=now, destroyed_event=event
    )


def _runs_of(principal_id: str) -> tuple[str, ...]:
    found = Run.objects.filter(principal_id=principal_id).order_by("pk")
    return tuple(found.values_list("pk", flat=True))


def _place_of(agent_id: str, home: str) -> str:
    elsewhere = Run.objects.filter(principal_id=agent_id).exclude(workspace_id=home)
    return workspace_by_slug(INSTANCE).pk if elsewhere.exists() else home


def _holders_of(runs: Sequence[str]) -> list[str]:
    """Return the conversations that consist of these runs alone; what others share stays theirs."""
    found: set[str] = set()
    for run in Run.objects.filter(pk__in=runs):
        same = (
            Run.objects.filter(session_id=run.session_id)
            if run.session_id
            else Run.objects.filter(
                principal_id=run.principal_id, workspace_id=run.workspace_id, session_id__isnull=True
            )
        )
        if not same.exclude(pk__in=runs).exists():
            found.add(holder_of(run).id)
    return sorted(found)


def _own_holders(principal_id: str) -> list[str]:
    places = Run.objects.filter(principal_id=principal_id).values_list("workspace_id", flat=True).distinct()
    return sorted({own_holder(principal_id, place) for place in places})


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
