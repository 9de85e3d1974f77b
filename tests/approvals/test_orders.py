from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import permutations
from random import Random

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest
from approvals.services import cancel_request, expire_request
from approvals.types import ReviewInput
from identity.models import User
from kernel.errors import ConflictError
from tests.approvals.asking import ALLOW, DENY, answer, ask, question
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast

ENDS = {"approval.decided", "approval.expired", "approval.cancelled"}
DUE = NOW + timedelta(seconds=600)


Step = Callable[[ApprovalRequest, RecordedEvents], None]


def steps(cast: Cast, *answers: tuple[User, ReviewInput]) -> tuple[Step, ...]:
    """Return these answers, an expiry, a cancellation and another call that joins, each to be done once."""

    def expire(request: ApprovalRequest, record: RecordedEvents) -> None:
        with transaction.atomic():
            expire_request(request_id=request.pk, now=DUE, record=record)

    def cancel(request: ApprovalRequest, record: RecordedEvents) -> None:
        with transaction.atomic():
            cancel_request(
                request_id=request.pk, close_code="run_closed", actor=SYSTEM, now=NOW, record=record
            )

    def reply(person: User, review: ReviewInput, request: ApprovalRequest, record: RecordedEvents) -> None:
        answer(cast, person, request, review, record=record)

    def attach(request: ApprovalRequest, record: RecordedEvents) -> None:
        ask(cast, replace(question(cast, f"late_{request.pk}"[:40]), run_id=request.run_id), record=record)

    return (*(partial(reply, *one) for one in answers), expire, cancel, attach)


def assert_ends_once(cast: Cast, number: int, order: Sequence[Step], *, quorum: int) -> None:
    record = RecordedEvents()
    asked = replace(question(cast, f"call_{number}", quorum=quorum), run_id=f"run_{number}")
    request = ask(cast, asked)
    ended: list[str] = []
    for step in order:
        with suppress(ConflictError):
            step(request, record)
        request.refresh_from_db()
        ended.append(request.status)
    closed = [status for status in ended if status != "pending"]
    assert len(set(closed)) == 1
    ends = [event for event in record.events if event.event in ENDS and event.subject == request.pk]
    assert len(ends) == 1
    assert request.grants.count() == (1 if request.status == "allowed" else 0)


@pytest.mark.django_db
def test_no_order_of_answers_and_ends_closes_a_request_twice() -> None:
    cast = make_cast()
    every = steps(cast, (cast.approver, ALLOW), (cast.second_approver, DENY))
    for number, order in enumerate(permutations(every)):
        assert_ends_once(cast, number, order, quorum=1)


@pytest.mark.django_db
def test_no_order_closes_a_request_for_two_people_twice() -> None:
    cast = make_cast()
    every = steps(cast, (cast.approver, ALLOW), (cast.second_approver, ALLOW), (cast.owner, DENY))
    orders = list(permutations(every))
    for number, order in enumerate(Random(20).sample(orders, 30)):
        assert_ends_once(cast, number, order, quorum=2)
