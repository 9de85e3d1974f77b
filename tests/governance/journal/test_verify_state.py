"""State without its event, or an event without its state, is found by the cross-check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from pytest_django.plugin import DjangoDbBlocker

from approvals.models import ApprovalRequest, Grant, GrantUse
from governance.closing import close_lost
from governance.journal.findings import Report
from governance.journal.models import Attestation, JournalEvent, JournalLeaf
from governance.journal.sealing import seal
from governance.journal.verify import Options, Verification
from governance.models import Reservation, ToolCall
from governance.operations import sweeping
from kernel.clock import utc_now
from policy.models import PolicySet
from sandbox.models import Execution
from tests.governance.journal.tampering import remove
from tests.governance.pipeline.conftest import cheap_passwords as cheap_passwords, founded as founded
from tests.governance.pipeline.world import SLEEP, SWEEPER, World, again, claim


@dataclass(frozen=True)
class Past:
    """Calls that ended in every way there is."""

    ran: ToolCall
    denied: ToolCall
    granted: ToolCall


@pytest.fixture(scope="module")
def happened(founded: World, django_db_blocker: DjangoDbBlocker) -> Iterator[Past]:
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("governance.runner.close_old_connections", lambda: None)
        yield _make(founded)


@pytest.fixture
def past(happened: Past, db: None) -> Past:
    return happened


def _make(world: World) -> Past:
    now = utc_now()
    ran = world.run(world.propose())
    granted = world.run(world.allowed(world.ask()))
    denied = world.ask()
    world.answer(denied, "deny")
    world.propose("no.such.tool")
    world.propose(SLEEP, {"duration_ms": 1})
    lost = world.propose()
    claim(world, lost)
    close_lost(again(lost).call.execution_id or "", SWEEPER, now, proven_dead=True)
    world.propose()
    sweeping.sweep(now + timedelta(days=2))
    seal(now=now)
    assert (ran.state, granted.state, again(denied).state) == ("succeeded", "succeeded", "denied")
    states = set(Execution.objects.values_list("state", flat=True))
    assert {"succeeded", "refused", "ambiguous"} <= states
    return Past(ran.call, denied.call, granted.call)


def checked() -> Report:
    return Verification(Options(cross_check=True), utc_now()).run()


def test_what_really_happened_does_not_diverge(past: Past) -> None:
    assert [(one.code, one.detail) for one in checked().first] == []


def _found(change: Callable[[], object]) -> list[str]:
    change()
    report = checked()
    assert set(report.counts) == {"state_divergence"}
    return [finding.detail for finding in report.first]


def test_states_that_no_event_tells_of(past: Past) -> None:
    executions = Execution.objects.filter(call_id=past.ran.pk)
    assert len(_found(lambda: executions.update(state="ambiguous"))) == 1
    executions.update(state="succeeded")
    requests = ApprovalRequest.objects.filter(status="expired")
    number = requests.count()
    assert number
    assert len(_found(lambda: requests.update(status="allowed"))) == 2 * number


def test_reservations_and_grants_that_were_changed(past: Past) -> None:
    held = Reservation.objects.filter(call_id=past.ran.pk)
    assert len(_found(lambda: held.update(state="released"))) == 2
    held.update(state="settled")
    grant = Grant.objects.get(pk=ToolCall.objects.get(pk=past.granted.pk).grant_id)
    Grant.objects.filter(pk=grant.pk).update(uses_allowed=None)
    assert any("counts 7 uses" in one for one in _found(lambda: Grant.objects.update(uses=7)))


def test_a_use_of_a_grant_that_was_wiped_out(past: Past) -> None:
    found = _found(lambda: GrantUse.objects.filter(call_id=past.granted.pk).delete())
    assert any("there are 0 rows and 1 events" in one for one in found)


def test_a_policy_set_that_was_put_in_force_behind_the_journal(past: Past) -> None:
    def change() -> None:
        active = PolicySet.objects.get(domain="palyra", state="active")
        active.pk, active.domain = "pol_smuggled", "smuggled"
        active.save(force_insert=True)

    (found,) = _found(change)
    assert found.startswith("pol_smuggled: no event policy.activated or ")


def test_a_call_whose_attestation_is_gone_or_that_has_one_too_early(past: Past) -> None:
    attested = Attestation.objects.filter(call_id=past.denied.pk)
    event = JournalEvent.objects.get(subject=attested.get().pk)
    remove(attested)
    report = checked()
    assert dict(report.counts) == {"attestation_invalid": 1, "state_divergence": 1}
    assert report.first[0].seq == JournalLeaf.objects.get(event_id=event.pk).seq


def test_a_call_that_never_was(past: Past) -> None:
    """An allowed call without an execution has not ended: its attestation comes too early."""
    call = ToolCall.objects.filter(pk=past.ran.pk)
    found = _found(lambda: call.update(execution_id="exe_none"))
    attestation = Attestation.objects.get(call_id=past.ran.pk).pk
    assert found == [f"{attestation}: the call {past.ran.pk} is not there or has not ended"]
