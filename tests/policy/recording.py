"""Recorded decisions for tests of what is done with them: an agent that fetches, lists and echoes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction

from kernel.ids import new_id
from policy.allowlists import allowlist
from policy.compilation import SourceFile
from policy.decision_records import Redacted, store_decision
from policy.decisions import decide
from policy.models import DecisionRecord, PolicySet
from policy.runtime import current
from policy.set_checking import check_text
from policy.set_selectors import active_set, set_text, source_files
from policy.sets import Text, draft_set, store_check
from policy.types import DecisionFacts, EffectivePosture
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast
from tests.policy.test_decisions import facts

ALWAYS = EffectivePosture("always_allow", "ask_each_time", "workspace", (), "", editable=True, explicit=True)
FORBID_EVIL = """
@id("no_evil_host") @description("That host is not for agents.")
forbid(principal, action == Palyra::Action::"tool.execute:http.fetch", resource)
when { context.input.url_host == "evil.example" };
"""
FORBID_ALL = '@id("no_tools") forbid(principal, action in Palyra::Action::"tool.execute", resource);'
PERMIT_ALL = '@id("any_tool") permit(principal, action in Palyra::Action::"tool.execute", resource);'


def allow_tool(cast: Cast, tool: str) -> None:
    with transaction.atomic():
        allowlist(
            workspace_id=cast.default.pk,
            kind="tool",
            value=tool,
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


def fetch(cast: Cast, host: str, path: str = "x") -> DecisionFacts:
    """The agent fetches on a host that can, and a person has said that it always may."""
    asked = facts(cast, "http.fetch", {"url": f"https://{host}/{path}"})
    assert asked.tool is not None
    return replace(asked, tool=replace(asked.tool, runtime_supported=True), posture=ALWAYS)


def plainly(value: Mapping[str, object]) -> Redacted:
    return Redacted(dict(value), exact=True)


def keep(
    asked: DecisionFacts, *, now: datetime = NOW, exact: bool = True, call_id: str | None = None
) -> DecisionRecord:
    """Decide and keep the decision, as gate 7 does; return the record."""
    decision = decide(facts=asked)
    record_id = new_id("evt", now)
    with transaction.atomic():
        store_decision(
            record_id=record_id,
            call_id=call_id or new_id("call", now),
            workspace_id=asked.workspace_id,
            decision=decision,
            now=now,
            redact=lambda value: Redacted(dict(value), exact=exact),
        )
    return DecisionRecord.objects.get(pk=record_id)


def keep_many(
    cast: Cast, number: int, *, hosts: tuple[str, ...] = ("a.example", "evil.example")
) -> list[DecisionRecord]:
    """Keep that many fetches, taking the hosts in turn, a second apart."""
    return [
        keep(fetch(cast, hosts[at % len(hosts)], f"{at}"), now=NOW + timedelta(seconds=at))
        for at in range(number)
    ]


def draft_with(*texts: str, now: datetime = NOW, without: frozenset[str] = frozenset()) -> PolicySet:
    """Draft the set in force with these texts added and these files left out."""
    active = active_set()
    assert active is not None
    kept = tuple(file for file in source_files(active) if file.name not in without)
    added = tuple(SourceFile(f"added_{at}.cedar", text) for at, text in enumerate(texts))
    with transaction.atomic():
        return draft_set(
            title="A change",
            text=Text(files=(*kept, *added), source=active.pk),
            actor=SYSTEM,
            now=now,
            record=RecordedEvents(),
        )


def validated_with(*texts: str, now: datetime = NOW, without: frozenset[str] = frozenset()) -> PolicySet:
    """The same, validated."""
    draft = draft_with(*texts, now=now, without=without)
    with transaction.atomic():
        done = store_check(
            set_id=draft.pk,
            seen_version=draft.edit_version,
            checked=check_text(set_text(draft), current().tools),
            actor=SYSTEM,
            now=now,
            record=RecordedEvents(),
        )
    assert done.state == "validated", list(done.findings.values_list("message", flat=True))
    return done
