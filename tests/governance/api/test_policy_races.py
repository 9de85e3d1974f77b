"""A second person's allow races with somebody else's activation, on PostgreSQL with real threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from approvals.models import ApprovalRequest
from approvals.types import ReviewInput
from governance import pipeline
from governance.journal.models import JournalEvent
from governance.operations import policy_activation
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from identity.types import Principal
from kernel.clock import utc_now
from policy.activation import ActivationWish
from policy.models import PolicySet
from policy.set_selectors import require_set
from tests.cast import enrol, make_user, principal
from tests.governance.api.world import World
from tests.policy.lifecycles import NO_FTP, REASON, draft, person, put, simulated, validate
from tests.racing import at_once

pytestmark = [pytest.mark.postgres]
WISH = ActivationWish(REASON, 1, 0)


def administrator(name: str) -> User:
    found = make_user(name, WorkspaceRole.ADMIN, workspace=Workspace.objects.get(slug="instance"))
    enrol(found)
    return found


def acting(user: User) -> Principal:
    return principal(user, Workspace.objects.get(slug="instance"), now=utc_now())


def ready(author: User, text: str) -> PolicySet:
    row = validate(put(draft(person(author)), person(author), text), person(author))
    simulated(row, created_at=utc_now(), finished_at=utc_now())
    return row


def activate(user: User, row: PolicySet) -> policy_activation.Activation:
    return policy_activation.activate(
        principal=acting(user), set_id=row.pk, wish=WISH, seen_version=row.edit_version, now=utc_now()
    )


def allow(user: User, request_id: str) -> None:
    now = utc_now()
    answer = ReviewInput(verdict="allow", comment="looked at it", otp_verified_at=now)
    pipeline.review(request_id=request_id, principal=acting(user), answer=answer, now=now)


def test_an_allow_and_an_activation_at_once_leave_one_set_in_force(committed_world: World) -> None:
    author, second, third = (administrator(name) for name in ("author", "second", "third"))
    asked, other = ready(author, NO_FTP), ready(author, NO_FTP + "\n")
    request = activate(author, asked).request
    assert request is not None
    before = JournalEvent.objects.filter(type="policy.activated").count()
    acts: list[Callable[[], object]] = [partial(allow, second, request.pk)] * 4
    acts += [partial(activate, third, other)] * 4
    codes = at_once(*acts)
    assert set(codes) <= {"", "policy_base_moved", "conflict", "already_decided"}
    assert JournalEvent.objects.filter(type="policy.activated").count() == before + 1
    assert PolicySet.objects.filter(state="active").count() == 1
    request = ApprovalRequest.objects.get(pk=request.pk)
    won = require_set("active") == asked
    assert request.status == ("allowed" if won else "pending")
    assert request.reviews.count() == int(won)
