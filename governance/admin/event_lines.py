"""Events as lines of the timeline: who, what, about which object, and how the journal holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Q
from django.urls import NoReverseMatch, reverse

from governance.admin.access import Visit
from governance.admin.event_sentences import sentence_of
from governance.admin.names import names_of
from governance.admin.words import Look, event_words
from governance.journal import envelope
from governance.journal.lookup import erased_of
from governance.journal.models import JournalEvent, JournalLeaf, JournalPending
from governance.safety.visible import shorten_id
from governance.selectors import visible_calls
from identity.models import Workspace

SYSTEM = {"system": "Palyra", "worker": "A worker", "anonymous": "Somebody unknown"}
ANSWERS = ("apr_", "grt_")
"""What an answer is called by: the events of one belong to the call that it lets go on."""
_PAGES = {
    "apr": ("admin:approval", "request_id"),
    "grt": ("admin:grant", "grant_id"),
    "run": ("admin:run", "run_id"),
    "call": ("admin:call", "call_id"),
    "agt": ("admin:agent", "agent_id"),
    "usr": ("admin:user", "user_id"),
    "pol": ("admin:policy_set", "set_id"),
    "tok": ("admin:token", "token_id"),
    "whk": ("admin:webhook", "webhook_id"),
    "wsp": ("admin:workspace", "workspace_id"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One event. `chips` are states in the order in which they are shown; `seq` is None until sealed.

    `call_id` is the call it belongs to, also by the answer it is about, or empty.
    """

    event: JournalEvent
    look: Look
    actor: str
    before: str
    about: str
    url: str
    after: str
    tool: str
    call_id: str
    seq: int | None
    chips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is looked up once for many events."""

    names: Mapping[str, str]
    tools: Mapping[str, str]
    calls: Mapping[str, str]
    leaves: Mapping[str, int]
    waiting: frozenset[str]
    erased: frozenset[str]


def lines_of(visit: Visit, events: Sequence[JournalEvent]) -> list[Line]:
    """Return the lines of these events in their order, in a number of queries that does not grow."""
    known = _known(visit, events)
    return [_line(event, known) for event in events]


def party(names: Mapping[str, str], one: str) -> str:
    """Return who or what an id names: a name, a word for the system, or the shortened id."""
    return names.get(one) or SYSTEM.get(one) or shorten_id(one)


def page_of(one: str) -> str:
    """Return the address of the page about an id, or nothing."""
    route, name = _PAGES.get(one.partition("_")[0], ("", ""))
    try:
        return reverse(route, kwargs={name: one}) if route else ""
    except NoReverseMatch:
        return ""


def _known(visit: Visit, events: Sequence[JournalEvent]) -> _Known:
    ids = [event.pk for event in events]
    # What waits is read before the leaves: an event that is sealed between the two is in both.
    waiting = frozenset(JournalPending.objects.filter(event_id__in=ids).values_list("event_id", flat=True))
    leaves = JournalLeaf.objects.filter(event_id__in=ids).values_list("event_id", "seq")
    about = {event.subject for event in events if event.subject.startswith(ANSWERS)}
    named = {event.call_id for event in events if event.call_id}
    calls = visible_calls(visit.principal).filter(
        Q(pk__in=named) | Q(approval_id__in=about) | Q(grant_id__in=about, run_id__in=_runs(events))
    )
    rows = list(calls.order_by("-pk").values_list("pk", "tool_name", "approval_id", "grant_id"))
    return _Known(
        names=_names(one for event in events for one in (event.actor, event.subject)),
        tools={call: tool for call, tool, _, _ in rows},
        calls={answer: call for call, _, *answers in rows for answer in answers if answer},
        leaves=dict(leaves),
        waiting=waiting,
        erased=erased_of(events),
    )


def _runs(events: Sequence[JournalEvent]) -> set[str]:
    return {event.run_id for event in events if event.run_id}


def _names(ids: Iterable[str]) -> dict[str, str]:
    wanted = set(ids)
    places = Workspace.objects.filter(pk__in=[one for one in wanted if one.startswith("wsp_")])
    return names_of(wanted) | dict(places.values_list("pk", "name"))


def _line(event: JournalEvent, known: _Known) -> Line:
    sentence = sentence_of(event.type)
    call = event.call_id or (known.calls.get(event.subject, "") if event.run_id else "")
    tool = known.tools.get(call, "")
    about, url = "", ""
    if sentence.about == "tool":
        about, url = tool or "a tool", page_of(call) if tool else ""
    elif sentence.about:
        about, url = party(known.names, event.subject), page_of(event.subject)
    return Line(
        event=event,
        look=event_words(event.type),
        actor=party(known.names, event.actor),
        before=sentence.before,
        about=about,
        url=url,
        after=sentence.after,
        tool=tool,
        call_id=call,
        seq=known.leaves.get(event.pk),
        chips=tuple(_chips(event, known)),
    )


def _chips(event: JournalEvent, known: _Known) -> Iterable[str]:
    if event.pk not in known.leaves:
        yield "unsealed" if event.pk in known.waiting else "unlogged"
    if event.pk in known.erased:
        yield "erased"
    try:
        redactions = envelope.parse(bytes(event.envelope)).get("redactions")
    except ValueError:
        yield "unreadable"
        return
    if redactions:
        yield "redacted"
