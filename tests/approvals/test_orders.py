from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import permutations

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest
from approvals.services import cancel_request, expire_request
from kernel.errors import ConflictError
from tests.approvals.asking import ALLOW, DENY, answer, ask, question
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, make_cast

ENDS = {"approval.decided", "approval.expired", "approval.cancelled"}
DUE = NOW + timedelta(seconds=600)


@pytest.mark.django_db
def test_no_order_of_answers_and_ends_closes_a_request_twice() -> None:
    cast = make_cast()

    def expire(request: ApprovalRequest, record: RecordedEvents) -> None:
        with transaction.atomic():
            expire_request(request_id=request.pk, now=DUE, record=record)

    def cancel(request: ApprovalRequest, record: RecordedEvents) -> None:
        with transaction.atomic():
            cancel_request(
                request_id=request.pk, close_code="run_closed", actor=SYSTEM, now=NOW, record=record
            )

    def reply(person: str, review: object, request: ApprovalRequest, record: RecordedEvents) -> None:
        answer(cast, getattr(cast, person), request, review, record=record)  # type: ignore[arg-type]  # built here

    def attach(request: ApprovalRequest, record: RecordedEvents) -> None:
        ask(cast, replace(question(cast, f"late_{request.pk}"[:40]), run_id=request.run_id), record=record)

    steps: tuple[Callable[[ApprovalRequest, RecordedEvents], None], ...] = (
        partial(reply, "approver", ALLOW),
        partial(reply, "second_approver", DENY),
        expire,
        cancel,
        attach,
    )
    for number, order in enumerate(permutations(steps)):
        record = RecordedEvents()
        request = ask(cast, replace(question(cast, f"call_{number}"), run_id=f"run_{number}"))
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
