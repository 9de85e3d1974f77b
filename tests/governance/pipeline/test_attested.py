"""However a call ends, it has one attestation that says how, and that strangers can check."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # untyped package

from governance.evidence import answer_behind, threads_of
from governance.journal.attestations import Judgement, judge
from governance.journal.models import Attestation, JournalCheckpoint, JournalEvent, JournalKey
from governance.journal.sealing import seal
from governance.journal.story import leaves_digest, story_of
from governance.operations import runs, sweeping
from governance.results import salted_text, stored_output
from governance.selectors import CallView
from kernel.canonical import digest_bytes
from kernel.clock import utc_now
from kernel.errors import RefusedError
from sandbox.attestation import Statement, seal as seal_statement
from tests.governance.pipeline.test_editing import edit
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    World,
    again,
    attested,
    claim,
    take_off_the_allowlist,
)
from vault import services as vault
from vault.types import KeyPurpose

Ending = Callable[[World], CallView]


def unknown(world: World) -> CallView:
    return world.propose("no.such_tool")


def denied_by_policy(world: World) -> CallView:
    take_off_the_allowlist(world, ECHO)
    return world.propose(ECHO)


def denied_by_a_person(world: World) -> CallView:
    view = world.ask()
    world.answer(view, "deny")
    return again(view)


def expired(world: World) -> CallView:
    view = world.ask()
    assert view.approval is not None
    sweeping.sweep(view.approval.expires_at)
    return again(view)


def cancelled_while_it_waited(world: World) -> CallView:
    return runs.cancel_call(call_id=world.ask().call.id, principal=world.agent, reason="", now=utc_now())


def cancelled_in_the_queue(world: World) -> CallView:
    view = world.propose()
    return runs.cancel_call(call_id=view.call.id, principal=world.agent, reason="", now=utc_now())


def refused(world: World) -> CallView:
    view = world.allowed(world.ask(ASKED))
    take_off_the_allowlist(world, ASKED)
    return world.run(view)


def ambiguous(world: World) -> CallView:
    view = world.allowed(world.ask())
    claim(world, view)
    sweeping.sweep(utc_now() + timedelta(seconds=20))
    return again(view)


def succeeded(world: World) -> CallView:
    return world.run(world.allowed(world.ask()))


ENDINGS: list[tuple[Ending, str, str, str]] = [
    (unknown, "denied", "tool_intake", "deny"),
    (denied_by_policy, "denied", "policy", "deny"),
    (denied_by_a_person, "denied", "approval", "deny"),
    (expired, "expired", "approval", "deny"),
    (cancelled_while_it_waited, "cancelled", "approval", "deny"),
    (cancelled_in_the_queue, "cancelled", "sweeper", "deny"),
    (refused, "refused", "policy", "deny"),
    (ambiguous, "ambiguous", "builtin", "allow"),
    (succeeded, "succeeded", "builtin", "allow"),
]


@pytest.mark.parametrize(("ending", "outcome", "executor", "verdict"), ENDINGS)
def test_every_end_has_one_attestation_that_another_implementation_verifies(
    world: World, ending: Ending, outcome: str, executor: str, verdict: str
) -> None:
    view = ending(world)
    row = Attestation.objects.get(call_id=view.call.id)
    key = SSlibKey(row.key_id, "ed25519", "ed25519", {"public": bytes(row.key.public_key).hex()})
    assert set(Envelope.from_dict(json.loads(row.envelope)).verify([key], 1)) == {row.key_id}
    said = attested(view).predicate
    assert (said["outcome"], said["executor"], said["verdict"]) == (outcome, executor, verdict)
    assert JournalEvent.objects.filter(call_id=view.call.id, type="attestation.recorded").count() == 1
    assert judge(row.envelope).is_recorded
    if verdict == "deny":
        assert (said["sandbox_enforcement"], said["output_digest"]) == ("none", None)


@pytest.mark.parametrize("ending", [unknown, refused, succeeded])
def test_it_names_every_event_up_to_the_end_of_the_call(world: World, ending: Ending) -> None:
    view = ending(world)
    said = attested(view).predicate["events"]
    assert isinstance(said, dict)
    story = list(story_of(threads_of(view.call, *answer_behind(view.call))))
    before = [event for event in story if event.type != "attestation.recorded"]
    assert said["ids"] == [event.pk for event in before]
    assert said["leaves_sha256"] == leaves_digest(bytes(event.envelope) for event in before)
    own = JournalEvent.objects.filter(call_id=view.call.id).exclude(type="attestation.recorded")
    assert set(own.values_list("pk", flat=True)) <= set(said["ids"])
    types = {event.type for event in before}
    assert {"run.opened", "tool_call.proposed", "tool_call.decided"} <= types
    assert ("policy.activated" in types) is (view.call.policy_set is not None)
    assert ("approval.reviewed" in types) is (view.call.approval_id is not None)


def test_whoever_tries_in_vain_to_answer_makes_no_part_of_the_story(world: World) -> None:
    view = world.ask()
    for _ in range(2):
        with pytest.raises(RefusedError):
            world.answer(view, by=world.agent_owner)
    tried = JournalEvent.objects.filter(type="request.refused", subject=view.call.approval_id)
    assert tried.count() == 2
    said = attested(world.run(world.allowed(view))).predicate["events"]
    assert isinstance(said, dict)
    assert not set(tried.values_list("pk", flat=True)) & set(said["ids"])


def test_it_names_the_final_decision_and_the_checkpoint_that_sealed_it(world: World) -> None:
    view = world.allowed(world.ask())
    with transaction.atomic():
        seal(now=utc_now())
    sealed = JournalCheckpoint.objects.latest("tree_size")
    said = attested(world.run(view)).predicate
    decided = JournalEvent.objects.filter(call_id=view.call.id, type="tool_call.decided").order_by("run_seq")
    assert decided.count() == 2
    assert said["decision_event"] == decided[1].pk
    assert str(said["decision_checkpoint"]).split(" ")[0] == str(sealed.tree_size)
    assert attested(world.run(world.propose())).predicate["decision_checkpoint"] is None


def test_an_edited_call_names_the_one_it_came_from_and_who_answered(world: World) -> None:
    view = world.ask()
    edited = edit(world, view)
    said = attested(world.run(CallView(edited.after, view.state, None, None, None, None))).predicate
    assert said["edited_from"] == view.call.id
    assert edited.request is not None
    used = {"id": edited.request.pk, "grant": edited.after.grant_id, "scope": "once", "quorum": 1}
    assert said["approvals"] == [{**used, "reviewers": [world.approver.pk]}]


def test_both_digests_are_recomputed_from_what_is_stored_and_not_without_the_salt(world: World) -> None:
    view = world.run(world.propose(arguments={"text": "yes"}))
    said, call = attested(view).predicate, view.call
    assert said["input_digest"] == digest_bytes(salted_text(call, call.input))
    assert said["output_digest"] == digest_bytes(salted_text(call, stored_output(call)))
    call.salt = b""
    assert said["input_digest"] != digest_bytes(salted_text(call, call.input))


def test_what_a_revoked_key_signed_counts_only_as_far_as_it_was_recorded_before(world: World) -> None:
    early, late = world.run(world.propose()), world.run(world.propose())
    first = Attestation.objects.get(call_id=early.call.id)
    second = Attestation.objects.get(call_id=late.call.id)
    since = JournalEvent.objects.get(subject=second.pk).time
    JournalKey.objects.filter(pk=first.key_id).update(retired_at=since, revoked_at=since)
    assert judge(first.envelope).is_valid
    assert judge(second.envelope) == Judgement("attestation.key_out_of_window")


def test_a_key_out_of_use_vouches_for_nothing_that_was_not_recorded(world: World) -> None:
    view = world.run(world.propose())
    row = Attestation.objects.get(call_id=view.call.id)
    said = attested(view).value
    predicate = {**attested(view).predicate, "reason_code": "another"}
    forged = seal_statement(Statement({**said, "predicate": predicate}), vault.signer(KeyPurpose.ATTESTATION))
    assert (judge(forged).is_valid, judge(forged).is_recorded) == (True, False)
    JournalKey.objects.filter(pk=row.key_id).update(retired_at=utc_now())
    assert judge(forged).code == "attestation.key_out_of_window"
    assert judge(row.envelope).is_valid
