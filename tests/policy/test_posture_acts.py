"""Acts on overrides with their history: presets, resets, undoing, answers. Through the real services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import DatabaseError, transaction
from pytest_django import DjangoAssertNumQueries

from kernel.errors import (
    AuthenticationError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PreconditionFailedError,
    PreconditionRequiredError,
    RefusedError,
)
from kernel.record import Actor
from policy.epoch import raise_epoch
from policy.models import AllowlistEntry, PostureEvent, PostureOverride, RecommendationAnswer, Tool
from policy.posture import GLOBAL, Place
from policy.posture_acts import (
    accept_recommendation,
    apply_preset,
    preset_named,
    put_off_recommendation,
    reset_scope,
    undo_posture,
)
from policy.posture_rows import version_tag
from policy.posture_selectors import postures_at
from policy.postures import Asking, clear_posture, expire_postures, place_of, set_posture
from policy.recommendations import FrictionFacts, Recommendation
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast
from tests.policy.test_writes import override, person, put

pytestmark = pytest.mark.django_db
OWNER_CODE = NOW - timedelta(minutes=1)


def asking(
    actor: Actor = SYSTEM, *, code: datetime | None = OWNER_CODE, now: datetime = NOW, **more: object
) -> Asking:
    return Asking(actor, now, RecordedEvents(), code, reason="a test", **more)  # type: ignore[arg-type]  # fields by name


def here(cast: Cast) -> Place:
    return place_of("workspace", cast.default.pk)


def rows(place: Place | None = None) -> dict[str, str]:
    found = PostureOverride.objects.all()
    if place is not None:
        found = found.filter(scope_kind=place.kind, scope_id=place.id)
    return dict(found.values_list("tool", "state"))


def last() -> PostureEvent:
    """The newest entry; ids of these tests' records grow with the number behind them."""
    return max(PostureEvent.objects.all(), key=lambda event: int(event.pk.split("_")[1]))


@contextmanager
def refused(kind: type[Exception], code: str) -> Iterator[None]:
    """Expect a refusal that leaves every row as it was."""
    before = list(PostureOverride.objects.order_by("pk").values_list())
    with pytest.raises(kind, match=code), transaction.atomic():
        yield
    assert list(PostureOverride.objects.order_by("pk").values_list()) == before


def applied(cast: Cast, preset: str = "read_mostly_research", **more: object) -> PostureEvent | None:
    place = more.pop("place", None) or here(cast)
    assert isinstance(place, Place)
    end = more.pop("expires_at", None)
    assert end is None or isinstance(end, datetime)
    with transaction.atomic():
        return apply_preset(
            preset=preset_named(preset),
            place=place,
            expires_at=end,
            asking=asking(**more),  # type: ignore[arg-type]  # fields by name
        )


def undone(event: PostureEvent, place: Place, **more: object) -> PostureEvent:
    with transaction.atomic():
        return undo_posture(event=event, place=place, asking=asking(**more))  # type: ignore[arg-type]  # by name


def test_every_change_leaves_an_entry_under_the_journals_id(cast: Cast) -> None:
    record = put(cast)
    event = last()
    assert record.names == ["posture.override_set"]
    assert (event.action, event.tool, event.scope_kind, event.scope_id, event.workspace_id) == (
        "override_set", "fs.read", "agent", cast.agent.pk, cast.default.pk,
    )  # fmt: skip
    assert (event.previous_state, event.new_state, event.reason) == ("", "ask_each_time", "careful")
    (change,) = event.changes
    assert (change["tool"], change["before"], change["after"]["state"]) == ("fs.read", None, "ask_each_time")


def test_the_history_cannot_be_rewritten(cast: Cast) -> None:
    put(cast)
    for write in (
        lambda: PostureEvent.objects.update(reason="nothing"),
        lambda: PostureEvent.objects.all().delete(),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            write()


def test_setting_and_clearing_can_be_undone_in_turn(cast: Cast) -> None:
    place = place_of("agent", cast.agent.pk)
    put(cast, state="disabled")
    first = last()
    with transaction.atomic():
        cleared = clear_posture(tool="fs.read", place=place, asking=asking())
    assert rows() == {}
    back = undone(cleared, place)
    assert (back.action, back.undoes, rows()) == ("undone", cleared.pk, {"fs.read": "disabled"})
    row = PostureOverride.objects.get()
    assert (row.reason, row.source, row.actor) == ("careful", "manual", "system")
    with refused(ConflictError, "state_changed"):
        undo_posture(event=first, place=place, asking=asking())
    undone(back, place)
    assert rows() == {}


def test_an_act_is_undone_once_and_only_while_its_rows_stand(cast: Cast) -> None:
    event = applied(cast)
    assert event is not None
    undone(event, here(cast))
    assert rows(here(cast)) == {}
    with refused(ConflictError, "state_changed"):
        undo_posture(event=event, place=here(cast), asking=asking())
    again = applied(cast)
    assert again is not None
    put(cast, tool="process.run", scope_kind="workspace", scope_id=cast.default.pk, state="disabled")
    with refused(ConflictError, "state_changed"):
        undo_posture(event=again, place=here(cast), asking=asking())


def test_undoing_asks_for_what_any_loosening_asks_for(cast: Cast) -> None:
    put(cast, state="disabled")
    place = place_of("agent", cast.agent.pk)
    with refused(AuthenticationError, "step_up_required"):
        undo_posture(event=last(), place=place, asking=asking(code=None))
    with refused(RefusedError, "role_required"):
        undo_posture(event=last(), place=place, asking=asking(person(cast.auditor.pk)))


def test_undoing_cannot_put_back_what_the_rules_forbid_now(cast: Cast) -> None:
    place = place_of("agent", cast.agent.pk)
    put(cast, state="always_allow", otp_verified_at=NOW)
    with transaction.atomic():
        cleared = clear_posture(tool="fs.read", place=place, asking=asking())
    put(cast, scope_kind="global", scope_id="", state="disabled")
    with refused(ConflictError, "posture_shadowed"):
        undo_posture(event=cleared, place=place, asking=asking())
    PostureOverride.objects.all().delete()
    Tool.objects.filter(name="fs.read").update(risk="critical")
    raise_epoch()
    with refused(InvalidError, "posture_too_loose"):
        undo_posture(event=cleared, place=place, asking=asking())


def test_what_ended_meanwhile_is_not_put_back(cast: Cast) -> None:
    place = place_of("agent", cast.agent.pk)
    put(cast, state="disabled", expires_at=NOW + timedelta(hours=1))
    with transaction.atomic():
        cleared = clear_posture(tool="fs.read", place=place, asking=asking())
    later = NOW + timedelta(hours=2)
    with refused(ConflictError, "conflict"):
        undo_posture(event=cleared, place=place, asking=asking(now=later, code=later))


def test_an_expiry_cannot_be_undone_and_is_entered_with_its_place(cast: Cast) -> None:
    put(cast, expires_at=NOW + timedelta(hours=1))
    session = {"scope_kind": "session", "scope_id": "ses_1", "agent_id": cast.agent.pk}
    put(cast, expires_at=NOW + timedelta(hours=1), **session)
    later = NOW + timedelta(hours=1)
    with transaction.atomic():
        assert expire_postures(actor=SYSTEM, now=later, record=RecordedEvents()) == 2
    events = PostureEvent.objects.filter(action="override_expired")
    assert {event.workspace_id for event in events} == {cast.default.pk}
    with refused(ConflictError, "conflict"):
        undo_posture(event=events[0], place=place_of("agent", cast.agent.pk), asking=asking(now=later))


def test_a_preset_is_written_whole_and_undone_whole(cast: Cast) -> None:
    put(cast, tool="process.run", scope_kind="workspace", scope_id=cast.default.pk)
    before = rows()
    event = applied(cast)
    assert event is not None
    assert event.source == "preset:read_mostly_research"
    found = rows(here(cast))
    assert found["process.run"] == found["fs.write"] == "disabled"
    assert {row.source for row in PostureOverride.objects.all()} == {event.source}
    assert {change["tool"] for change in event.changes} == set(found)
    undone(event, here(cast))
    assert rows() == before


def test_a_preset_skips_locked_tools_and_changes_nothing_twice(cast: Cast) -> None:
    AllowlistEntry.objects.filter(value="fs.write").delete()
    raise_epoch()
    assert applied(cast) is not None
    assert "fs.write" not in rows()
    assert applied(cast) is None
    assert PostureEvent.objects.count() == 1


def test_a_tool_no_host_can_run_is_skipped(cast: Cast) -> None:
    assert applied(cast, host_locks={"process.run": "No host."}) is not None
    assert "process.run" not in rows()


def test_a_preset_that_frees_asks_for_a_code_and_writes_nothing_without(cast: Cast) -> None:
    applied(cast, "lockdown")
    with refused(AuthenticationError, "step_up_required"):
        applied(cast, "conservative_coding", code=None)
    with refused(AuthenticationError, "step_up_required"):
        applied(cast, "conservative_coding", code=NOW - timedelta(minutes=6))
    assert applied(cast, "conservative_coding") is not None


def test_a_preset_never_writes_a_row_that_is_too_loose_and_names_the_tools(cast: Cast) -> None:
    Tool.objects.filter(name__in=("fs.read", "fs.list")).update(risk="high")
    raise_epoch()
    for tool in ("fs.read", "fs.list"):
        put(cast, tool=tool, scope_kind="workspace", scope_id=cast.default.pk)
    with pytest.raises(InvalidError) as caught, transaction.atomic():
        applied(cast)
    assert [error.pointer for error in caught.value.errors] == ["/tools/fs.list", "/tools/fs.read"]
    assert set(rows().values()) == {"ask_each_time"}
    assert applied(cast, expires_at=NOW + timedelta(days=1)) is not None
    assert PostureOverride.objects.get(tool="fs.read").expires_at == NOW + timedelta(days=1)
    assert PostureOverride.objects.get(tool="process.run").expires_at is None
    with refused(InvalidError, "invalid"):
        applied(cast, expires_at=NOW)


def test_presets_and_resets_need_authority_over_the_scope(cast: Cast) -> None:
    for nobody in (cast.approver, cast.auditor, cast.stranger, cast.agent_owner):
        with refused(RefusedError, "role_required"):
            applied(cast, actor=person(nobody.pk))
        with refused(RefusedError, "role_required"):
            reset_scope(place=GLOBAL, asking=asking(person(nobody.pk)))
    with refused(RefusedError, "role_required"):
        applied(cast, actor=Actor("agent", cast.agent.pk, "token", "api"))
    with pytest.raises(NotFoundError):
        preset_named("party")


def test_a_reset_clears_exactly_one_scope(cast: Cast) -> None:
    put(cast, scope_kind="global", scope_id="", state="disabled")
    put(cast, state="disabled")
    put(cast, tool="echo", state="disabled")
    place = place_of("agent", cast.agent.pk)
    with refused(AuthenticationError, "step_up_required"):
        reset_scope(place=place, asking=asking(code=None))
    with transaction.atomic():
        event = reset_scope(place=place, asking=asking())
    assert event is not None
    assert (event.action, rows(place), rows()) == ("scope_reset", {}, {"fs.read": "disabled"})
    with transaction.atomic():
        assert reset_scope(place=place, asking=asking()) is None
    undone(event, place)
    assert rows(place) == {"fs.read": "disabled", "echo": "disabled"}


def test_nothing_but_disabled_is_set_on_a_locked_tool(cast: Cast) -> None:
    for state in ("always_allow", "ask_each_time"):
        with refused(ConflictError, "posture_locked"):
            put(cast, tool="http.fetch", state=state)
    with refused(ConflictError, "posture_locked"), transaction.atomic():
        set_posture(
            override=override(cast),
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
            host_locks={"fs.read": "No host."},
        )
    put(cast, tool="http.fetch", state="disabled")


def test_what_holds_in_one_workspace_does_not_lock_the_whole_instance(cast: Cast) -> None:
    AllowlistEntry.objects.filter(value="fs.read").delete()
    raise_epoch()
    put(cast, scope_kind="global", scope_id="")
    Tool.objects.filter(name="fs.read").update(enabled=False)
    raise_epoch()
    with refused(ConflictError, "posture_locked"):
        put(cast, scope_kind="global", scope_id="")


def test_loosening_asks_for_a_fresh_code_whatever_the_risk(cast: Cast) -> None:
    owner = person(cast.owner.pk)
    put(cast, owner, state="disabled")
    for change in (
        {"state": "ask_each_time"},
        {"state": "always_allow"},
        {"state": "disabled", "expires_at": NOW + timedelta(seconds=1)},
    ):
        with refused(AuthenticationError, "step_up_required"):
            put(cast, owner, **change)
    with refused(AuthenticationError, "step_up_required"):
        clear_posture(tool="fs.read", place=place_of("agent", cast.agent.pk), asking=asking(owner, code=None))
    put(cast, owner, state="ask_each_time", otp_verified_at=NOW)


def test_always_allow_below_an_ask_that_may_not_be_overridden_is_refused(cast: Cast) -> None:
    put(cast, scope_kind="workspace", scope_id=cast.default.pk, overridable=False)
    with refused(ConflictError, "posture_shadowed"):
        put(cast, state="always_allow", otp_verified_at=NOW)


def test_a_row_is_changed_as_it_was_seen(cast: Cast) -> None:
    put(cast, seen=None)
    row = PostureOverride.objects.get()
    with refused(PreconditionRequiredError, "precondition_required"):
        put(cast, state="disabled", seen=None)
    put(cast, state="disabled", seen=version_tag(row))
    with refused(PreconditionFailedError, "precondition_failed"):
        put(cast, state="disabled", seen=version_tag(row))
    with transaction.atomic():
        clear_posture(tool="fs.read", place=place_of("agent", cast.agent.pk), asking=asking())
    put(cast, seen=None)
    with refused(PreconditionFailedError, "precondition_failed"):
        put(cast, state="disabled", seen=version_tag(row))


def test_the_view_of_a_place_is_what_a_call_meets(cast: Cast) -> None:
    put(cast, scope_kind="workspace", scope_id=cast.default.pk)
    put(cast, state="disabled")
    place = place_of("agent", cast.agent.pk)
    view = next(view for view in postures_at(place, {}, NOW) if view.tool.name == "fs.read")
    assert (view.posture.state, [row.scope_kind for row in view.rows]) == ("disabled", ["workspace", "agent"])
    assert view.override is not None
    assert view.override.scope_kind == "agent"
    locked = next(one for one in postures_at(place, {"echo": "No host."}, NOW) if one.tool.name == "echo")
    assert (locked.posture.state, locked.posture.lock_reason) == ("disabled", "No host.")


def test_a_place_is_read_with_few_queries_however_many_tools_there_are(
    cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    place = place_of("agent", cast.agent.pk)
    raise_epoch()
    postures_at(place, {}, NOW)
    with django_assert_max_num_queries(5):
        assert len(postures_at(place, {}, NOW)) > 10


RECOMMENDED = Recommendation(
    "tighten", "fs.read", ("global", ""), "ask_each_time", "disabled", "Denied.", FrictionFacts("fs.read", ())
)


def test_accepting_writes_the_override_with_its_source(cast: Cast) -> None:
    record = RecordedEvents()
    with transaction.atomic():
        event = accept_recommendation(
            recommendation=RECOMMENDED, place=GLOBAL, asking=replace(asking(), record=record)
        )
    row = PostureOverride.objects.get()
    assert (row.source, row.state) == (f"recommendation:{RECOMMENDED.id}", "disabled")
    assert (event.action, event.new_state) == ("recommendation_accepted", "disabled")
    assert record.names == ["recommendation.accepted"]
    undone(event, GLOBAL)
    assert rows() == {}


@pytest.mark.parametrize(("answer", "days"), [("dismiss", 30), ("defer", 7)])
def test_putting_off_hides_for_its_time_and_changes_no_row(cast: Cast, answer: str, days: int) -> None:
    with transaction.atomic():
        event = put_off_recommendation(
            recommendation=RECOMMENDED, answer=answer, place=GLOBAL, asking=asking()
        )
    assert RecommendationAnswer.objects.get().until == NOW + timedelta(days=days)
    assert (event.changes, rows()) == ([], {})
    with refused(ConflictError, "conflict"):
        undo_posture(event=event, place=GLOBAL, asking=asking())
    with refused(RefusedError, "role_required"):
        put_off_recommendation(
            recommendation=RECOMMENDED, answer=answer, place=GLOBAL, asking=asking(person(cast.approver.pk))
        )
