"""Which patterns would spare people the most questions: a look at the week, for people who decide.

It grants nothing. Whoever wants a pattern chooses it at the next question, where it is computed anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from approvals.candidates import HISTORY, PastAsk, candidates
from approvals.fields import ToolShape
from approvals.models import ApprovalRequest
from approvals.patterns import BoundPattern, breadth, matches
from approvals.selectors import visible_to
from approvals.types import RequestStatus, Risk
from governance.grants import HISTORY_DAYS, compared, shape_of, shown
from governance.models import ToolCall
from governance.safety.secrets import mask
from governance.subjects import OF_TOOLS
from identity.types import Principal
from kernel.canonical import canonical
from kernel.errors import InvalidError

WEEK = timedelta(days=7)
MOST_ASKS = 2_000
"""How many questions of the week are counted, the newest first."""
MOST_GROUPS = 10
MOST_DENIED = 500
MOST_BASES = 3
MOST_PATTERNS = 3
FEWEST = 3
"""Fewer questions than this in a week are no noise."""
_WIDENED = (Risk.LOW, Risk.MEDIUM, Risk.HIGH)
"""What is critical is asked each time, so no pattern spares its questions."""


@dataclass(frozen=True, slots=True)
class Saving:
    """A pattern in words, and how many of the questions looked at it would have spared; none was denied."""

    sentence: str
    matched: int
    breadth: int


@dataclass(frozen=True, slots=True)
class Noise:
    """The questions of one agent about one tool within a week.

    `looked_at` of them, the newest, are what the savings are counted over. `pending_id` is a question that
    waits now and at which a pattern may be chosen, empty for none. `why_none` says why there are no savings.
    """

    agent_id: str
    tool: str
    asks: int
    allowed: int
    denied: int
    expired: int
    looked_at: int
    savings: tuple[Saving, ...]
    pending_id: str
    why_none: str


@dataclass(frozen=True, slots=True)
class Week:
    """The noisiest first. `is_cut` when more was asked than is counted."""

    rows: tuple[Noise, ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class _Call:
    parameters: Mapping[str, object]
    resource: str


Group = tuple[str, str, str]
"""Workspace, agent and tool."""


@dataclass(frozen=True, slots=True)
class _Ask:
    request_id: str
    call_id: str
    definition: str | None
    risk: str
    status: str


def noise(principal: Principal, now: datetime) -> Week:
    """Return who asked most within the last seven days, of what this person may see, with what would help.

    Four queries and what each tool's definition takes, whatever the number of questions.
    """
    rows = _tools(principal, now).filter(requested_at__gt=now - WEEK).order_by("-requested_at", "-pk")
    columns = ("workspace_id", "requester_id", "tool")
    found = list(
        rows.values_list(*columns, "pk", "subject_id", "tool_definition_hash", "risk", "status")[
            : MOST_ASKS + 1
        ]
    )
    groups: dict[Group, list[_Ask]] = defaultdict(list)
    for workspace_id, agent_id, tool, *facts in found[:MOST_ASKS]:
        groups[workspace_id, agent_id, tool].append(_Ask(*facts))
    noisy = sorted(groups.items(), key=lambda item: len(item[1]), reverse=True)
    chosen = [(group, asks) for group, asks in noisy[:MOST_GROUPS] if len(asks) >= FEWEST]
    denied = _denied(principal, [group for group, _ in chosen], now)
    inputs = _inputs(chosen, denied)
    read = [
        _noise(group, asks, (denied or {}).get(group, ()), denied is None, inputs) for group, asks in chosen
    ]
    read.sort(key=lambda one: (-max((saving.matched for saving in one.savings), default=0), -one.asks))
    return Week(tuple(read), len(found) > MOST_ASKS)


def _tools(principal: Principal, now: datetime) -> QuerySet[ApprovalRequest]:
    return visible_to(principal, now).filter(subject_type__in=OF_TOOLS).exclude(tool="")


def _denied(
    principal: Principal, groups: Sequence[Group], now: datetime
) -> Mapping[Group, Sequence[str]] | None:
    """Return the calls that people denied within 30 days, by group; None when there are too many."""
    rows = _tools(principal, now).filter(
        status=RequestStatus.DENIED,
        requested_at__gt=now - HISTORY_DAYS,
        requester_id__in={agent for _, agent, _ in groups},
        tool__in={tool for _, _, tool in groups},
    )
    found = list(
        rows.values_list("workspace_id", "requester_id", "tool", "subject_id").order_by("-requested_at")[
            : MOST_DENIED + 1
        ]
    )
    if len(found) > MOST_DENIED:
        return None
    by_group: dict[Group, list[str]] = defaultdict(list)
    for workspace_id, agent_id, tool, call_id in found:
        by_group[workspace_id, agent_id, tool].append(call_id)
    return by_group


def _inputs(
    chosen: Sequence[tuple[Group, Sequence[_Ask]]], denied: Mapping[Group, Sequence[str]] | None
) -> dict[str, _Call]:
    """Read what is compared, of each group as much as an approver of one of its calls would wait for."""
    groups = [
        {ask.call_id: ask.status for ask in asks[:HISTORY]}
        | dict.fromkeys((denied or {}).get(group, ()), RequestStatus.DENIED.value)
        for group, asks in chosen
    ]
    calls = ToolCall.objects.filter(pk__in={call_id for asked in groups for call_id in asked})
    sizes = dict(calls.values_list("pk", "input_bytes"))
    read = {call_id for asked in groups for call_id in compared(asked.items(), sizes)}
    found = calls.filter(pk__in=read).values_list("pk", "input", "resource")
    return {pk: _Call(given, place or "") for pk, given, place in found if isinstance(given, Mapping)}


def _noise(
    group: Group,
    asks: Sequence[_Ask],
    denied: Sequence[str],
    too_many: bool,
    inputs: Mapping[str, _Call],
) -> Noise:
    _, agent_id, tool = group
    looked_at = [ask for ask in asks[:HISTORY] if ask.call_id in inputs]
    savings: tuple[Saving, ...] = ()
    why = "More was denied in 30 days than can be compared with."
    if not too_many:
        savings, why = _savings(tool, looked_at, denied, inputs)
    count = Counter(ask.status for ask in asks)
    return Noise(
        agent_id=agent_id,
        tool=tool,
        asks=len(asks),
        allowed=count[RequestStatus.ALLOWED],
        denied=count[RequestStatus.DENIED],
        expired=count[RequestStatus.EXPIRED],
        looked_at=len(looked_at),
        savings=savings,
        pending_id=next((ask.request_id for ask in asks if ask.status == RequestStatus.PENDING), ""),
        why_none=why,
    )


def _savings(
    tool: str, asks: Sequence[_Ask], denied: Sequence[str], inputs: Mapping[str, _Call]
) -> tuple[tuple[Saving, ...], str]:
    """Return the patterns that would have spared most, the best first, or why there are none."""
    bases = _bases(asks, inputs)
    if not bases:
        return (), "Nothing of it was allowed at a risk at which more than one call may be."
    shape = shape_of(tool, bases[0].definition)
    if shape is None:
        return (), "The tool has another definition by now; its next questions will tell."
    past = [PastAsk(inputs[ask.call_id].parameters, ask.status == RequestStatus.DENIED) for ask in asks]
    past += [PastAsk(inputs[one].parameters, denied=True) for one in denied if one in inputs]
    if any(one not in inputs for one in denied):
        return (), "What was denied cannot be read, so nothing can be compared with it."
    found: dict[str, Saving] = {}
    for base in bases:
        for bound, sentence in _candidates(inputs[base.call_id], shape, past, base.risk):
            matched = sum(matches(bound, inputs[ask.call_id].parameters) for ask in asks)
            found.setdefault(sentence, Saving(sentence, matched, breadth(bound)))
    best = sorted(found.values(), key=lambda one: (-one.matched, one.breadth, one.sentence))
    kept = tuple(one for one in best if one.matched > 1)[:MOST_PATTERNS]
    return kept, "" if kept else "The calls have too little in common for a pattern."


def _bases(asks: Sequence[_Ask], inputs: Mapping[str, _Call]) -> list[_Ask]:
    """Return up to three allowed calls that differ, the newest first, all of the newest one's definition."""
    bases: list[_Ask] = []
    for ask in asks:
        fits = ask.status == RequestStatus.ALLOWED and ask.risk in _WIDENED
        if not fits or (bases and ask.definition != bases[0].definition):
            continue
        if all(inputs[ask.call_id].parameters != inputs[base.call_id].parameters for base in bases):
            bases.append(ask)
        if len(bases) == MOST_BASES:
            break
    return bases


def _candidates(
    call: _Call, shape: ToolShape, past: Sequence[PastAsk], risk: str
) -> list[tuple[BoundPattern, str]]:
    """Return what an approver of this call would be offered, without what would name a secret."""
    try:
        found = candidates(call.parameters, shape, past, risk=risk)
    except InvalidError:
        return []
    plain = (one for one in found if not mask(canonical(one.bound.as_json()).decode()).count)
    return [(one.bound, _words(one.bound, one.sentence, call)) for one in plain]


def _words(bound: BoundPattern, sentence: str, call: _Call) -> str:
    if not bound.is_exact:
        return shown(sentence)
    return f"Exactly one call, again and again{f': {shown(call.resource)}' if call.resource else ''}"
