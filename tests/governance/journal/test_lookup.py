"""Who may know of which events, asked without any adapter in front."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection

from governance.journal.lookup import (
    ANOTHER,
    EventFilter,
    found_events,
    reveal_reason,
    types_named,
    visible_events,
)
from governance.journal.models import JournalPayload, JournalSubjectKey
from governance.journal.wire import render_event
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.clock import utc_now
from tests.governance.journal.writing import AGENT, NOW, PERSON, open_run, write
from tests.governance.streams.test_tail import auditor

pytestmark = pytest.mark.usefixtures("ready")


def agent() -> Principal:
    """An agent whose row names every scope, as a hand in the database could write it."""
    return replace(auditor(), kind=PrincipalKind.AGENT, id=AGENT.id, instance_roles=frozenset())


def local(workspace: str) -> Principal:
    return replace(auditor(), workspace_id=workspace, instance_roles=frozenset())


def told(principal: Principal) -> set[str]:
    return set(visible_events(principal, utc_now()).values_list("pk", flat=True))


def test_whoever_acts_sees_its_own_runs_without_other_people() -> None:
    own, foreign = open_run(), open_run()
    type(foreign).objects.filter(pk=foreign.pk).update(principal_id="agt_01J00000000000000000000001")
    mine = write(run=own.id, actor=PERSON, subject=PERSON.id)
    write(run=foreign.id)
    write(subject=AGENT.id)
    assert told(agent()) == {mine.pk}

    now = utc_now()
    assert reveal_reason(agent(), now) is not None
    (found,) = found_events([mine], withheld=reveal_reason(agent(), now))
    shown = render_event(found, agent())
    assert (shown["actor"], shown["subject"], shown["data"]) == (ANOTHER, ANOTHER, None)
    assert shown["envelope"]["actor"]["id"] == shown["envelope"]["subject"] == ANOTHER
    assert PERSON.id not in str(shown)
    assert render_event(found, auditor())["envelope"]["actor"]["id"] == PERSON.id


def test_a_workspace_is_that_of_run_or_call_and_of_nothing_that_an_event_says() -> None:
    run = open_run()
    inside = write(run=run.id)
    about = write(subject="wsp_1")
    person = auditor().id
    own = write(subject=person)
    by = write(actor=replace(PERSON, id=person))
    write(subject="wsp_2")
    write(subject=f"x{person}")
    assert told(local("wsp_1")) == {inside.pk, about.pk, own.pk, by.pk}
    assert inside.pk not in told(local("wsp_2"))
    assert told(replace(local("wsp_1"), permissions=frozenset({Permission.RUNS_READ}))) == set()
    assert told(replace(local("wsp_1"), active=False)) == set()
    assert told(replace(auditor(), permissions=frozenset())) == set()


def test_a_key_that_is_said_to_be_destroyed_and_is_there_opens_nothing_by_itself() -> None:
    """What is erased needs no right to be opened, so only a key that is gone counts."""
    event = write(run=open_run().id)
    key = JournalPayload.objects.get(event=event).key
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            table, name = JournalSubjectKey._meta.db_table, "journal_subject_key_destroyed_iff_null"
            cursor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
        else:
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        try:
            JournalSubjectKey.objects.filter(pk=key.pk).update(destroyed_at=NOW)
            (found,) = found_events([event], withheld="role_required")
            assert (found.data, found.withheld, found.erased) == (None, "role_required", False)
        finally:
            if connection.vendor == "sqlite":
                JournalSubjectKey.objects.filter(pk=key.pk).update(destroyed_at=None)
                cursor.execute("PRAGMA ignore_check_constraints = OFF")


def test_families_are_whole_words() -> None:
    assert types_named("run.opened") == ("run.opened",)
    assert set(types_named("tool_call.*")) >= {"tool_call.proposed", "tool_call.decided"}
    assert not {name for name in types_named("tool.*") if name.startswith("tool_call")}
    assert {types_named(text) for text in ("", "*", ".*", "tool*", "tool_call", "run.open", "x.*")} == {()}


def test_a_window_is_exact_although_an_index_finds_it() -> None:
    before, at, after = (write(subject="x", now=NOW + timedelta(microseconds=step)) for step in (-1, 0, 1))
    rows = visible_events(auditor(), utc_now()).filter(subject="x")
    assert set(EventFilter(since=NOW).narrow(rows)) == {at, after}
    assert set(EventFilter(until=NOW).narrow(rows)) == {before}
    assert set(EventFilter(since=NOW, until=NOW + timedelta(microseconds=1)).narrow(rows)) == {at}
