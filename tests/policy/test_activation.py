"""How rules come into force: by whom, under which conditions, and what is written down."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from identity.models import Membership
from identity.roles import WorkspaceRole
from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor
from policy import installation
from policy.activation import ActivationWish, Consent
from policy.models import PolicyEpoch, PolicySet, Tool, ToolVersion
from policy.runtime import current
from policy.set_selectors import author_ids, require_set, source_files
from policy.sets import text_of
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_user
from tests.policy.lifecycles import (
    NO_FTP,
    REASON,
    activate,
    admin,
    draft,
    person,
    put,
    ready,
    rollback,
    simulated,
    validate,
)

pytestmark = pytest.mark.django_db
ACTION = 'action == Palyra::Action::"policy.activate"'


def refusal(row: PolicySet, actor: Actor, **asked: object) -> str:
    """Return the code with which an activation is refused; nothing may have changed by it."""
    before, active = PolicyEpoch.objects.get().stamp, require_set("active")
    record = RecordedEvents()
    with pytest.raises((ConflictError, InvalidError, RefusedError)) as refused:
        activate(row, actor, record=record, **asked)  # type: ignore[arg-type]  # a test may pass anything
    assert PolicyEpoch.objects.get().stamp == before
    assert require_set("active") == active
    assert record.names == []
    return refused.value.code


def rule(identifier: str, text: str) -> str:
    return f'@id("{identifier}")\n{text}\n'


def test_a_second_person_puts_a_validated_and_simulated_set_in_force(cast: Cast) -> None:
    second, before = admin(cast, "second"), require_set("active")
    row, stamp = ready(cast, cast.owner), PolicyEpoch.objects.get().stamp
    record = RecordedEvents()
    active = activate(row, person(second), record=record)
    before.refresh_from_db()
    assert (before.state, before.superseded_at) == ("superseded", NOW)
    assert (active.state, active.activated_by, active.activated_at) == ("active", second.pk, NOW)
    assert PolicyEpoch.objects.get().stamp != stamp
    assert record.names == ["policy.superseded", "policy.activated"]
    assert record.events[1].data == {
        "version": row.version,
        "hash": row.hash,
        "domain": "palyra",
        "previous": before.pk,
        "reason": REASON,
        "simulation": 1,
        "loosened": 0,
        "request": None,
        "single_operator": False,
    }
    engine = current().engine
    assert engine is not None
    assert "no_ftp" in engine.compiled.rules


def test_an_author_of_one_character_does_not_activate(cast: Cast) -> None:
    second, third = admin(cast, "second"), admin(cast, "third")
    row = put(draft(person(cast.owner)), person(cast.owner))
    row = validate(put(row, person(second), NO_FTP + "\n"), person(cast.owner))
    simulated(row)
    for author in (cast.owner, second):
        assert refusal(row, person(author)) == "self_review"
    assert activate(row, person(third)).state == "active"


def test_the_only_person_who_may_activate_acts_alone_and_it_is_written_down(cast: Cast) -> None:
    make_user("local", WorkspaceRole.OWNER, workspace=cast.default)
    record = RecordedEvents()
    activate(ready(cast, cast.owner), person(cast.owner), record=record)
    assert record.events[-1].data["single_operator"] is True


def test_the_exception_ends_by_itself_when_a_second_person_may(cast: Cast) -> None:
    row = ready(cast, cast.owner)
    second = admin(cast, "second")
    assert refusal(row, person(cast.owner)) == "self_review"
    Membership.objects.filter(user=second).delete()
    assert activate(row, person(cast.owner)).state == "active"


def test_who_lacks_the_permission_in_the_instance_activates_nothing(cast: Cast) -> None:
    local = make_user("local", WorkspaceRole.OWNER, workspace=cast.default)
    row = ready(cast, cast.owner)
    for nobody in (person(local), person(cast.approver), Actor("agent", cast.agent.pk, "token", "api")):
        assert refusal(row, nobody) == "role_required"


@pytest.mark.parametrize("reason", ["", "too short", "x" * 501, "a reason with \0 in it"])
def test_a_reason_is_ten_to_five_hundred_characters(cast: Cast, reason: str) -> None:
    row = ready(cast, cast.owner)
    assert refusal(row, person(admin(cast, "second")), wish=ActivationWish(reason, 1, 0)) == "invalid"


def test_a_draft_and_what_is_in_force_already_are_not_activated(cast: Cast) -> None:
    second = admin(cast, "second")
    row = put(draft(person(cast.owner)), person(cast.owner))
    simulated(row)
    assert refusal(row, person(second)) == "conflict"
    assert refusal(require_set("active"), person(second)) == "conflict"
    with pytest.raises(NotFoundError):
        activate(PolicySet(pk="pol_01JD0000000000000000000000"), person(second))


def test_a_set_whose_base_was_replaced_is_refused_with_the_set_in_force(cast: Cast) -> None:
    second = admin(cast, "second")
    first, late = ready(cast, cast.owner), ready(cast, cast.owner, NO_FTP + "\n")
    activate(first, person(second))
    simulated(late)
    with pytest.raises(ConflictError) as refused:
        activate(late, person(second), wish=ActivationWish(REASON, 2, 0))
    assert (refused.value.code, refused.value.extra) == ("policy_base_moved", {"active": first.pk})


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "running", "finished_at": None},
        {"draft_hash": "sha256:other"},
        {"against_hash": "sha256:other"},
        {"finished_at": NOW - timedelta(hours=25)},
        {"available": 10, "total": 9},
        {"asked": {"tool": "echo"}},
        {"loosened": 1},
    ],
)
def test_a_simulation_that_does_not_stand_refuses(cast: Cast, changes: dict[str, object]) -> None:
    row = validate(put(draft(person(cast.owner)), person(cast.owner)), person(cast.owner))
    simulated(row, **changes)
    assert refusal(row, person(admin(cast, "second"))) == "simulation_stale"


def test_a_simulation_of_another_set_does_not_stand_for_this_one(cast: Cast) -> None:
    row = validate(put(draft(person(cast.owner)), person(cast.owner)), person(cast.owner))
    ready(cast, cast.owner)
    assert refusal(row, person(admin(cast, "second"))) == "simulation_stale"


def test_the_text_is_validated_again_against_the_catalog_as_it_is(cast: Cast) -> None:
    row = ready(cast, cast.owner)
    tool = Tool.objects.get(name="http.fetch")
    newest = ToolVersion.objects.get(tool=tool, version=tool.current_version)
    ToolVersion.objects.create(
        tool=tool,
        version=tool.current_version + 1,
        input_schema={"type": "object", "properties": {}, "additionalProperties": False},
        definition_digest="sha256:other",
        created_at=newest.created_at,
    )
    Tool.objects.filter(pk=tool.pk).update(current_version=tool.current_version + 1)
    assert refusal(row, person(admin(cast, "second"))) == "policy_invalid"


@pytest.mark.parametrize(
    "text",
    [
        f"forbid (principal, {ACTION}, resource);",
        f"forbid (principal is Palyra::User, {ACTION}, resource) when {{ principal.mfa }};",
        f"forbid (principal is Palyra::User, {ACTION}, resource) when {{ context.action_name == "
        '"policy.activate" };',
        'forbid (principal, action in Palyra::Action::"governance", resource) unless {'
        ' context.auth_method == "mtls" };',
        f'forbid (principal, {ACTION}, resource) unless {{ resource == Palyra::PolicySet::"pol_1" }};',
        f'@obligation("approval")\nforbid (principal, {ACTION}, resource);',
    ],
)
def test_rules_that_would_lock_everybody_out_never_come_into_force(cast: Cast, text: str) -> None:
    row = ready(cast, cast.owner, rule("locked", text))
    assert refusal(row, person(admin(cast, "second"))) == "policy_lockout"


def test_a_rule_against_the_address_one_comes_from_locks_out_too(cast: Cast) -> None:
    second = admin(cast, "second")
    text = rule("no_address", f"forbid (principal, {ACTION}, resource) when {{ context has source_ip }};")
    row = ready(cast, cast.owner, text)
    consent = Consent(asked_by=second.pk, client_ip="10.1.2.3")
    assert refusal(row, person(second), consent=consent) == "policy_lockout"


def test_rules_that_leave_one_way_are_no_lock_out(cast: Cast) -> None:
    second = admin(cast, "second")
    text = f"forbid (principal, {ACTION}, resource) unless {{ principal is Palyra::User && principal.mfa }};"
    assert activate(ready(cast, cast.owner, rule("mfa_only", text)), person(second)).state == "active"
    only = f'forbid (principal, {ACTION}, resource) unless {{ principal == Palyra::User::"{second.pk}" }};'
    assert activate(ready(cast, cast.owner, rule("one_person", only)), person(second)).state == "active"


def test_permitting_only_people_who_are_gone_is_a_lock_out(cast: Cast) -> None:
    second, gone = admin(cast, "second"), make_user("gone", WorkspaceRole.ADMIN, workspace=cast.instance)
    only = f'forbid (principal, {ACTION}, resource) unless {{ principal == Palyra::User::"{gone.pk}" }};'
    row = ready(cast, cast.owner, rule("only_gone", only))
    type(gone).objects.filter(pk=gone.pk).update(is_active=False)
    assert refusal(row, person(second)) == "policy_lockout"


def test_one_person_goes_back_to_the_direct_predecessor_within_a_day(cast: Cast) -> None:
    second, before = admin(cast, "second"), require_set("active")
    activate(ready(cast, cast.owner), person(second))
    left, record = require_set("active"), RecordedEvents()
    restored = rollback(before, person(cast.owner), now=NOW + timedelta(hours=24), record=record)
    assert (restored.state, restored.restored_from_id, restored.parent_id) == ("active", before.pk, left.pk)
    assert restored.version > left.version
    assert (restored.hash, source_files(restored)) == (before.hash, source_files(before))
    assert record.names == [
        "policy.drafted",
        "policy.validated",
        "policy.superseded",
        "policy.activated",
        "policy.rolled_back",
    ]
    assert record.events[-1].data["restored"] == before.pk
    assert record.events[-1].data["single_operator"] is False


def test_after_a_day_or_further_back_it_takes_two(cast: Cast) -> None:
    second, first = admin(cast, "second"), require_set("active")
    middle = activate(ready(cast, cast.owner), person(second))
    with pytest.raises(RefusedError) as refused:
        rollback(first, person(second), now=NOW + timedelta(hours=24, seconds=1))
    assert refused.value.code == "four_eyes_required"
    activate(ready(cast, cast.owner, NO_FTP + "\n"), person(second))
    with pytest.raises(RefusedError):
        rollback(first, person(second))
    consent = Consent(asked_by=cast.owner.pk, request="apr_1")
    with pytest.raises(RefusedError):
        rollback(first, person(cast.owner), consent=consent)
    restored = rollback(first, person(second), consent=consent)
    assert restored.restored_from_id == first.pk
    assert author_ids(restored) == {cast.owner.pk}
    middle.refresh_from_db()
    assert middle.state == "superseded"


def test_alone_in_the_instance_one_goes_back_any_way(cast: Cast) -> None:
    before = require_set("active")
    activate(ready(cast, cast.owner), person(cast.owner))
    record = RecordedEvents()
    rollback(before, person(cast.owner), now=NOW + timedelta(days=9), record=record)
    assert record.events[-1].data["single_operator"] is True


def test_what_was_asked_by_somebody_who_lost_the_permission_is_not_done(cast: Cast) -> None:
    second, before = admin(cast, "second"), require_set("active")
    activate(ready(cast, cast.owner), person(second))
    asked = Consent(asked_by=cast.approver.pk, request="apr_1")
    with pytest.raises(ConflictError) as refused:
        rollback(before, person(second), consent=asked)
    assert refused.value.code == "conflict"


def test_only_an_earlier_set_is_restored(cast: Cast) -> None:
    for row in (require_set("active"), draft(person(cast.owner)), ready(cast, cast.owner)):
        with pytest.raises(ConflictError) as refused:
            rollback(row, person(cast.owner))
        assert refused.value.code == "conflict"


def test_going_back_needs_no_right_to_edit(cast: Cast) -> None:
    """Rules that forbid every edit must not stand in the way of taking them back."""
    second, before = admin(cast, "second"), require_set("active")
    text = 'forbid (principal, action == Palyra::Action::"policy.edit", resource);'
    activate(ready(cast, cast.owner, rule("no_edits", text)), person(second))
    with pytest.raises(RefusedError):
        draft(person(second))
    assert rollback(before, person(second)).state == "active"
    assert draft(person(second)).state == "draft"


def test_the_shell_restores_the_shipped_rules_whatever_is_in_force(cast: Cast) -> None:
    second, shipped = admin(cast, "second"), require_set("active")
    left = activate(ready(cast, cast.owner), person(second))
    record = RecordedEvents()
    with transaction.atomic():
        restored = installation.restore_baseline(reason=REASON, actor=SYSTEM, now=NOW, record=record)
    assert (restored.hash, restored.state) == (shipped.hash, "active")
    assert record.names[-1] == "policy.baseline_restored"
    assert record.events[-1].data["left"] == left.pk
    for actor, reason in ((person(cast.owner), REASON), (SYSTEM, "short")):
        with pytest.raises((RefusedError, InvalidError)):
            installation.restore_baseline(reason=reason, actor=actor, now=NOW, record=RecordedEvents())


def test_taking_over_what_passed_four_eyes_makes_only_the_drafter_an_author(cast: Cast) -> None:
    second = admin(cast, "second")
    passed = activate(ready(cast, cast.owner), person(second))
    assert author_ids(draft(person(second), text=text_of(passed))) == {second.pk}
