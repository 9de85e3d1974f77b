"""What stands beside the arguments on an approval page: rules, posture, budgets, the run, the past."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.safestring import SafeString

from approvals.models import ApprovalRequest, Review
from approvals.selectors import visible_to
from approvals.types import RequestStatus, SubjectType
from governance.admin.access import Visit
from governance.admin.approval_diff import ArgumentDiff, diff_of
from governance.admin.charts import thin_bar
from governance.admin.policy_reading import FILE_LINES, part_of
from governance.admin.words import Look, event_words
from governance.journal.models import JournalEvent
from governance.models import Run, ToolCall
from governance.selectors import CallView, views_of, visible_calls, visible_runs
from identity.models import ApiToken
from identity.roles import Permission
from policy.posture import scope_chain
from policy.selectors import posture, tool_named
from policy.set_selectors import active_set, require_set, source_files

MOST_SIMILAR = 10
MOST_EVENTS = 10
MOST_COUNTED = 1_000
PERIOD = timedelta(days=30)
SCOPE_WORDS = {
    "global": "Whole installation",
    "workspace": "Workspace",
    "agent": "This agent",
    "session": "This session",
}
_RULE = re.compile(r'@id\("([A-Za-z0-9_.-]{1,128})"\)')
PlacesKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that asked for a person. `place` and `url` are empty when it is not in force any more."""

    id: str
    text: str
    effect: str
    place: str
    url: str


@dataclass(frozen=True, slots=True)
class PostureStep:
    """One scope of the posture's chain; `state` is empty where nothing is set."""

    word: str
    state: str


@dataclass(frozen=True, slots=True)
class Budget:
    """A number of a budget before and after an allow, a sentence about it, and a bar of what is used."""

    name: str
    before: int
    after: int
    words: str
    bar: SafeString


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of the run, by its public columns."""

    look: Look
    time: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Precedent:
    """A decided request of the same agent for the same thing, and what became of its call."""

    request: ApprovalRequest
    review: Review | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Record:
    """How such requests ended in the last 30 days. `is_cut` says that only the newest were counted."""

    asked: int
    allowed: int
    denied: int
    expired: int
    is_cut: bool

    @property
    def rate(self) -> str:
        """How many of the decided ones were allowed, as a percentage."""
        decided = self.allowed + self.denied
        return f"{100 * self.allowed // decided} %" if decided else ""


def rules_of(visit: Visit, request: ApprovalRequest, call: ToolCall | None) -> tuple[Rule, ...]:
    """Return the rules that asked, each linked to its lines in the set in force for who may read it."""
    told = {str(one.get("id")): one for one in (call.determining_policies if call else ())}
    listed = (request.context.get("policy") or {}).get("determining") or []
    places = _places() if listed and visit.holds(Permission.POLICY_READ) else {}
    return tuple(_rule(str(one), told.get(str(one), {}), places) for one in listed)


def _rule(rule_id: str, told: Mapping[str, object], places: Mapping[str, tuple[str, str]]) -> Rule:
    place, url = places.get(rule_id, ("", ""))
    return Rule(rule_id, str(told.get("description") or ""), str(told.get("effect") or ""), place, url)


def _places() -> Mapping[str, tuple[str, str]]:
    """Return by rule id where it stands in the set in force: `file:line` and the address of that line."""
    active = active_set()
    return _places_in((active.pk, active.edit_version)) if active else {}


@lru_cache(maxsize=4)
def _places_in(key: PlacesKey) -> Mapping[str, tuple[str, str]]:
    """A set in force does not change; it is read once."""
    chosen = require_set(key[0])
    found: dict[str, tuple[str, str]] = {}
    for file in source_files(chosen):
        for number, line in enumerate(file.text.split("\n"), start=1):
            match = _RULE.search(line) if "@id(" in line else None
            if match:
                found[match[1]] = (f"{file.name}:{number}", _line_url(chosen.pk, file.name, number, match[1]))
    return found


def _line_url(set_id: str, file: str, line: int, rule_id: str) -> str:
    if line < FILE_LINES:
        return f"{reverse('admin:active_policy')}#policy-{rule_id}"
    return f"{reverse('admin:edit_policy', args=(set_id, file))}?from={part_of(line)}#policy-{rule_id}"


def posture_of(request: ApprovalRequest, now: datetime) -> tuple[PostureStep, ...]:
    """Return the chain of postures that counts for this tool now, broadest first; empty without a tool."""
    tool = tool_named(request.tool) if request.tool and not request.skill_id else None
    if tool is None:
        return ()
    agent = request.requester_id if request.requester_kind == "agent" else None
    session = request.session_id or None
    found = posture(
        tool=tool,
        default_requires_approval=tool.requires_approval,
        tool_name=tool.name,
        workspace_id=request.workspace_id,
        agent_id=agent,
        session_id=session,
        locks=(),
        now=now,
    )
    rows = {(row.scope_kind, row.scope_id): row.state for row in found.chain}
    chain = scope_chain(workspace_id=request.workspace_id, agent_id=agent, session_id=session)
    steps = [PostureStep(SCOPE_WORDS[kind], str(rows.get((kind, one), ""))) for kind, one in chain]
    return (PostureStep("The tool itself", found.default_state), *steps, PostureStep("Together", found.state))


def budgets_of(request: ApprovalRequest) -> tuple[Budget, ...]:
    """Return what an allow does to the calls of the run: takes one, or raises how many there may be."""
    told = request.context.get("budget") or {}
    used, limit = told.get("calls_used"), told.get("calls_limit")
    if not isinstance(used, int) or not isinstance(limit, int) or limit < 1:
        return ()
    if request.subject_type == SubjectType.BUDGET_OVERRIDE:
        wanted = int(request.resume["max_calls"])
        words = f"{used} of {limit} are used; an allow makes it {wanted}."
        return (_budget("Calls this run may make", limit, wanted, used / wanted, words),)
    words = f"An allow would leave {max(0, limit - used)} of {limit} calls in this run."
    return (_budget(f"Calls of this run, of {limit}", used - 1, used, used / limit, words),)


def _budget(name: str, before: int, after: int, part: float, words: str) -> Budget:
    tone = "bad" if part >= 0.95 else "warn" if part >= 0.75 else "info"
    return Budget(name, before, after, words, thin_bar(part, tone=tone, label=words))


def run_of(visit: Visit, request: ApprovalRequest) -> Run | None:
    """Return the run, for who may see it."""
    return visible_runs(visit.principal).filter(pk=request.run_id).first() if request.run_id else None


def events_of(run: Run | None) -> list[Happened]:
    """Return the last events of a run, newest first; payloads stay closed."""
    if run is None:
        return []
    rows = JournalEvent.objects.filter(run_id=run.pk).order_by("-run_seq").defer("envelope")
    return [Happened(event_words(row.type), row.time, row.actor) for row in rows[:MOST_EVENTS]]


def calls_of(visit: Visit, request: ApprovalRequest) -> list[CallView]:
    """Return the calls that wait on a request and that this person may see, in order of arrival."""
    ids = [waiting.call_id for waiting in request.calls.all()]
    return views_of(list(visible_calls(visit.principal).filter(pk__in=ids).order_by("pk")))


def token_label(call: ToolCall | None) -> str:
    """Return the label of the token that the call came with, or an empty text."""
    if call is None or not call.token_id:
        return ""
    return ApiToken.objects.filter(pk=call.token_id).values_list("label", flat=True).first() or ""


def precedents(visit: Visit, request: ApprovalRequest) -> list[Precedent]:
    """Return the last decided requests of the same agent for the same thing, newest first."""
    rows = list(
        _alike(visit, request)
        .exclude(status=RequestStatus.PENDING)
        .order_by("-requested_at")
        .prefetch_related("reviews")[:MOST_SIMILAR]
    )
    calls = visible_calls(visit.principal).filter(approval_id__in=[row.pk for row in rows])
    states = {view.call.approval_id: view.state.value for view in views_of(list(calls.order_by("-pk")))}
    return [Precedent(row, _last(list(row.reviews.all())), states.get(row.pk, "")) for row in rows]


def record_of(visit: Visit, request: ApprovalRequest) -> Record:
    """Count how such requests ended lately, up to a bound."""
    rows = _alike(visit, request).filter(requested_at__gte=visit.now - PERIOD).order_by("-requested_at")
    states = list(rows.values_list("status", flat=True)[: MOST_COUNTED + 1])
    counts = Counter(states[:MOST_COUNTED])
    return Record(
        asked=min(len(states), MOST_COUNTED),
        allowed=counts[RequestStatus.ALLOWED],
        denied=counts[RequestStatus.DENIED],
        expired=counts[RequestStatus.EXPIRED],
        is_cut=len(states) > MOST_COUNTED,
    )


def last_allowed(
    visit: Visit, request: ApprovalRequest
) -> tuple[ApprovalRequest | None, ArgumentDiff | None]:
    """Return the last allowed request of the same agent and tool, and what differs from it now."""
    rows = _alike(visit, request).filter(status=RequestStatus.ALLOWED, requested_at__lte=request.requested_at)
    before = rows.order_by("-requested_at").first()
    if before is None:
        return None, None
    return before, diff_of(before.context.get("parameters_view"), request.context.get("parameters_view"))


def _alike(visit: Visit, request: ApprovalRequest) -> QuerySet[ApprovalRequest]:
    return (
        visible_to(visit.principal, visit.now)
        .filter(requester_id=request.requester_id, subject_label=request.subject_label)
        .exclude(pk=request.pk)
    )


def _last(reviews: Sequence[Review]) -> Review | None:
    return max(reviews, key=lambda one: one.pk, default=None)
