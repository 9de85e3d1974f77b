"""A shadow is asked about what was decided and counts what it would have said; it decides nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from kernel.errors import ConflictError, RefusedError
from kernel.record import Actor
from policy import shadowing
from policy.candidates import Shadow, shadow_of
from policy.lifecycle import SetState
from policy.models import DecisionRecord, PolicyEpoch, PolicyFile, PolicySet, SessionLabel, ShadowResult
from policy.runtime import current
from policy.shadowing import EXAMPLES, SETTLED, observe, set_shadow, shadows, store_seen
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast
from tests.policy.recording import (
    FORBID_ALL,
    FORBID_EVIL,
    allow_tool,
    draft_with,
    fetch,
    keep,
    keep_many,
    validated_with,
)
from tests.policy.test_decisions import echo

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(minutes=10)
HOUR = NOW.replace(minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def fetching(cast: Cast) -> None:
    allow_tool(cast, "http.fetch")


def put(
    policy_set: PolicySet,
    *,
    enabled: bool = True,
    actor: Actor = SYSTEM,
    record: RecordedEvents | None = None,
    now: datetime = NOW,
) -> PolicySet:
    with transaction.atomic():
        return set_shadow(
            policy_set=policy_set, enabled=enabled, actor=actor, now=now, record=record or RecordedEvents()
        )


def watch(policy_set: PolicySet, now: datetime = LATER) -> int:
    """Do what the sweeper does in one turn; return how many records were new."""
    seen = observe(PolicySet.objects.get(pk=policy_set.pk), now)
    if seen is None:
        return 0
    with transaction.atomic():
        assert store_seen(seen)
    return seen.records


def counts(policy_set: PolicySet) -> dict[tuple[str, str], tuple[int, int]]:
    rows = ShadowResult.objects.filter(policy_set=policy_set)
    return {(row.old_effect, row.new_effect): (row.count, row.errors) for row in rows}


def test_a_shadow_counts_what_it_would_have_said(cast: Cast) -> None:
    keep(fetch(cast, "evil.example"), now=NOW - timedelta(hours=1))
    policy_set = put(validated_with(FORBID_EVIL))
    records = keep_many(cast, 6)
    assert watch(policy_set) == 6
    assert counts(policy_set) == {("allow", "allow"): (3, 0), ("allow", "deny"): (3, 0)}
    row = ShadowResult.objects.get(policy_set=policy_set, new_effect="deny")
    assert row.hour == HOUR
    assert row.examples == [record.pk for record in records if "evil.example" in record.request]
    assert watch(policy_set) == 0
    keep(fetch(cast, "evil.example"), now=NOW + timedelta(minutes=5))
    assert watch(policy_set) == 1
    assert counts(policy_set)["allow", "deny"] == (4, 0)


def test_hours_are_kept_apart_and_only_the_last_examples_stay(cast: Cast) -> None:
    policy_set = put(validated_with(FORBID_ALL))
    early = [keep(echo(cast), now=NOW + timedelta(seconds=at)) for at in range(EXAMPLES + 5)]
    keep(echo(cast), now=NOW + timedelta(hours=2))
    watch(policy_set, NOW + timedelta(hours=3))
    rows = list(ShadowResult.objects.filter(policy_set=policy_set).order_by("hour"))
    assert [(row.hour, row.count) for row in rows] == [(HOUR, EXAMPLES + 5), (HOUR + timedelta(hours=2), 1)]
    assert rows[0].examples == [record.pk for record in early[-EXAMPLES:]]


def test_a_decision_is_looked_at_once_it_has_settled(cast: Cast) -> None:
    """An earlier id may still be committed by a transaction that waits, and would be passed over."""
    policy_set = put(validated_with(FORBID_EVIL))
    keep(echo(cast))
    assert watch(policy_set, NOW + SETTLED - timedelta(seconds=1)) == 0
    assert watch(policy_set, NOW + SETTLED) == 1


def test_batches_are_bounded_and_follow_one_another(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    policy_set = put(validated_with(FORBID_EVIL))
    keep_many(cast, 7)
    monkeypatch.setattr(shadowing, "BATCH", 3)
    assert [watch(policy_set) for _ in range(4)] == [3, 3, 1, 0]
    assert sum(count for count, _ in counts(policy_set).values()) == 7


def test_a_slow_shadow_stops_when_its_time_is_over_and_goes_on_from_there(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper that asks it also expires requests and finds lost workers."""
    policy_set = put(validated_with(FORBID_EVIL))
    keep_many(cast, 4)
    monkeypatch.setattr(shadowing, "TURN_SECONDS", 0.0)
    assert [watch(policy_set) for _ in range(5)] == [1, 1, 1, 1, 0]
    assert counts(policy_set) == {("allow", "allow"): (2, 0), ("allow", "deny"): (2, 0)}


def test_two_sweepers_count_a_record_once(cast: Cast) -> None:
    policy_set = put(validated_with(FORBID_EVIL))
    keep(echo(cast))
    first, second = observe(policy_set, LATER), observe(policy_set, LATER)
    assert first is not None
    assert second is not None
    with transaction.atomic():
        assert (store_seen(first), store_seen(second)) == (True, False)
    assert counts(policy_set) == {("allow", "allow"): (1, 0)}


def test_what_was_seen_by_a_shadow_that_was_ended_meanwhile_is_dropped(cast: Cast) -> None:
    policy_set = put(validated_with(FORBID_EVIL))
    keep(echo(cast))
    seen = observe(policy_set, LATER)
    assert seen is not None
    put(policy_set, enabled=False)
    with transaction.atomic():
        assert store_seen(seen) is False
    assert counts(policy_set) == {}
    assert policy_set.pk not in {one.pk for one in shadows()}


def test_a_shadow_changes_no_answer_no_label_and_no_epoch(cast: Cast) -> None:
    asked = fetch(cast, "evil.example")
    before = keep(asked)
    validated = validated_with(FORBID_ALL)
    epoch = PolicyEpoch.objects.values_list("epoch", "stamp").get()
    labels = SessionLabel.objects.count()
    put(validated)
    after = keep(asked, now=NOW + timedelta(seconds=1))
    assert watch(validated) > 0
    assert (after.effect, after.policy_set_id) == ("allow", before.policy_set_id)
    assert keep(asked, now=NOW + timedelta(seconds=2)).effect == "allow"
    assert PolicyEpoch.objects.values_list("epoch", "stamp").get() == epoch
    assert SessionLabel.objects.count() == labels


def test_a_shadow_that_crashes_counts_errors_and_nothing_else(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy_set = put(validated_with(FORBID_EVIL))
    keep_many(cast, 2)

    def crash(*given: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(shadowing, "answer_of", crash)
    assert watch(policy_set) == 2
    assert counts(policy_set) == {("allow", "deny"): (2, 2)}


def test_a_shadow_that_no_longer_compiles_counts_errors(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    policy_set = put(validated_with(FORBID_EVIL))
    keep(echo(cast))
    monkeypatch.setattr(shadowing, "shadow_of", lambda *given: Shadow(None, differs=True))
    watch(policy_set)
    assert counts(policy_set) == {("allow", "deny"): (1, 1)}


def test_a_record_that_cannot_be_read_is_an_error(cast: Cast) -> None:
    policy_set = put(validated_with(FORBID_EVIL))
    record = keep(echo(cast))
    DecisionRecord.objects.filter(pk=record.pk).update(request="{}")
    watch(policy_set)
    assert counts(policy_set) == {("allow", "deny"): (1, 1)}


def test_a_rule_that_fails_in_a_shadow_is_an_error(cast: Cast) -> None:
    overflows = (
        '@id("overflows") forbid(principal, action in Palyra::Action::"tool.execute", resource)'
        " when { context.calls_in_run + 9223372036854775807 > 5 };"
    )
    policy_set = put(validated_with(overflows))
    keep(echo(cast))
    watch(policy_set)
    assert counts(policy_set) == {("allow", "deny"): (1, 1)}


def activated(policy_set: PolicySet) -> PolicySet:
    """Put a set into force by the columns alone: how that is done is another test's matter."""
    PolicySet.objects.filter(state=SetState.ACTIVE).update(state=SetState.SUPERSEDED, superseded_at=NOW)
    PolicySet.objects.filter(pk=policy_set.pk).update(state=SetState.ACTIVE, activated_at=NOW)
    PolicyEpoch.objects.update(stamp=f"after {policy_set.pk}"[:32])
    return PolicySet.objects.get(pk=policy_set.pk)


IN_SHADOW = FORBID_EVIL.replace('@id("no_evil_host")', '@id("no_evil_host") @mode("shadow")')


def test_a_policy_in_shadow_decides_nothing_and_is_counted_as_if_it_did(cast: Cast) -> None:
    active = activated(validated_with(IN_SHADOW))
    record = keep(fetch(cast, "evil.example"))
    assert (record.effect, record.policy_set_id) == ("allow", active.pk)
    keep(fetch(cast, "a.example"))
    assert active.pk in {one.pk for one in shadows()}
    assert watch(active) == 2
    assert counts(active) == {("allow", "allow"): (1, 0), ("allow", "deny"): (1, 0)}


def test_a_set_in_force_without_policies_in_shadow_is_not_replayed(cast: Cast) -> None:
    active = PolicySet.objects.get(state=SetState.ACTIVE)
    keep(echo(cast))
    assert shadow_of(active, current().tools).differs is False
    assert watch(active) == 0
    assert counts(active) == {}


def test_the_set_in_force_is_compared_with_its_own_decisions_only(cast: Cast) -> None:
    keep(fetch(cast, "evil.example"))
    active = activated(validated_with(IN_SHADOW))
    assert watch(active) == 0


def test_a_set_in_shadow_leaves_its_own_policies_in_shadow_out(cast: Cast) -> None:
    policy_set = put(validated_with(IN_SHADOW))
    keep(fetch(cast, "evil.example"))
    watch(policy_set)
    assert counts(policy_set) == {("allow", "allow"): (1, 0)}


def test_the_change_is_recorded_and_repeating_it_changes_nothing(cast: Cast) -> None:
    policy_set, events = validated_with(FORBID_EVIL), RecordedEvents()
    put(policy_set, record=events)
    put(policy_set, record=events, now=LATER)
    put(policy_set, enabled=False, record=events)
    put(policy_set, enabled=False, record=events)
    assert [(event.event, event.data["enabled"]) for event in events.events] == [
        ("policy.shadow_changed", True),
        ("policy.shadow_changed", False),
    ]
    assert events.events[0].data["hash"] == policy_set.hash


def test_a_shadow_starts_with_the_decisions_after_it(cast: Cast) -> None:
    keep_many(cast, 3)
    policy_set = put(validated_with(FORBID_EVIL), now=NOW + timedelta(minutes=1))
    assert watch(policy_set) == 0


def test_three_sets_are_in_shadow_at_most(cast: Cast) -> None:
    three = [put(validated_with(FORBID_EVIL)) for _ in range(3)]
    fourth = validated_with(FORBID_ALL)
    with pytest.raises(ConflictError) as caught:
        put(fourth)
    assert caught.value.code == "conflict"
    put(three[0], enabled=False)
    assert put(fourth).shadow_since == NOW


def test_only_a_validated_set_goes_into_shadow(cast: Cast) -> None:
    with pytest.raises(ConflictError) as caught:
        put(draft_with(FORBID_EVIL))
    assert caught.value.code == "state_changed"
    with pytest.raises(ConflictError):
        put(PolicySet.objects.get(state=SetState.ACTIVE))
    other = validated_with(FORBID_ALL)
    PolicySet.objects.filter(pk=other.pk).update(domain="elsewhere")
    other.refresh_from_db()
    with pytest.raises(ConflictError):
        put(other)


@pytest.mark.parametrize("who", ["approver", "auditor", "agent_owner", "stranger"])
def test_somebody_without_policy_edit_in_the_instance_changes_no_shadow(cast: Cast, who: str) -> None:
    person: Any = getattr(cast, who)
    policy_set = validated_with(FORBID_EVIL)
    with pytest.raises(RefusedError):
        put(policy_set, actor=Actor("user", person.pk, "session", "console"))
    with pytest.raises(RefusedError):
        put(policy_set, actor=Actor("agent", cast.agent.pk, "token", "api"))
    policy_set.refresh_from_db()
    assert policy_set.shadow_since is None


def test_the_compiled_shadow_is_kept_and_that_of_another_text_is_not_taken_for_it(cast: Cast) -> None:
    one, other = validated_with(FORBID_EVIL), validated_with(FORBID_ALL)
    tools = current().tools
    first = shadow_of(one, tools)
    assert shadow_of(one, tools) is first
    assert shadow_of(other, tools) is not first
    changed = dict(tools)
    changed["echo"] = replace(tools["echo"], definition_digest="sha256:" + "0" * 64)
    assert shadow_of(one, changed) is not first
    assert PolicyFile.objects.filter(policy_set=one).exists()
