"""Writers of policy sets at once, on PostgreSQL with real threads."""

from __future__ import annotations

from functools import partial

import pytest

from identity.models import User
from kernel.errors import ConflictError, PreconditionFailedError
from policy.models import PolicyFile, PolicySet
from policy.runtime import current
from policy.set_selectors import require_set
from tests.builders import RecordedEvents
from tests.policy.conftest import installed
from tests.policy.lifecycles import NO_FTP, activate, admin, draft, person, put, ready, rollback, validate
from tests.racing import at_once

THREADS = 8
pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def test_eight_activations_of_one_set_are_one() -> None:
    cast = installed()
    second, row = admin(cast, "second"), ready(cast, cast.owner)
    record = RecordedEvents()
    codes = at_once(*[lambda: activate(row, person(second), record=record)] * THREADS)
    assert sorted(codes) == [""] + ["conflict"] * (THREADS - 1)
    assert record.names.count("policy.activated") == 1
    assert require_set("active") == row


def test_eight_sets_activated_at_once_leave_one_in_force_and_the_others_without_a_base() -> None:
    cast = installed()
    second = admin(cast, "second")
    rows = [ready(cast, cast.owner, NO_FTP + "\n" * number) for number in range(THREADS)]
    record = RecordedEvents()
    codes = at_once(*(partial(activate, row, person(second), record=record) for row in rows))
    assert sorted(codes) == [""] + ["policy_base_moved"] * (THREADS - 1)
    assert record.names.count("policy.activated") == record.names.count("policy.superseded") == 1
    assert PolicySet.objects.filter(state="active").count() == 1
    assert require_set("active") == rows[codes.index("")]
    engine = current().engine
    assert engine is not None
    assert engine.compiled.ref.id == require_set("active").pk


def test_going_back_and_activating_at_once_leave_one_in_force() -> None:
    cast = installed()
    second, before = admin(cast, "second"), require_set("active")
    activate(ready(cast, cast.owner), person(second))
    following = ready(cast, cast.owner, NO_FTP + "\n")
    codes = at_once(
        *[lambda: activate(following, person(second))] * (THREADS // 2),
        *[lambda: rollback(before, person(second))] * (THREADS // 2),
    )
    assert PolicySet.objects.filter(state="active").count() == 1
    assert codes.count("") >= 1
    assert set(codes) <= {"", "conflict", "policy_base_moved", "four_eyes_required"}


def test_eight_drafts_at_once_have_eight_numbers() -> None:
    cast = installed()
    codes = at_once(*[lambda: draft(person(cast.owner))] * THREADS)
    assert codes == [""] * THREADS
    assert sorted(PolicySet.objects.values_list("version", flat=True)) == list(range(1, THREADS + 2))


def test_eight_edits_of_what_all_of_them_saw_are_one_edit() -> None:
    cast = installed()
    row = draft(person(cast.owner))
    texts = [NO_FTP + " " * number for number in range(THREADS)]
    codes = at_once(*(partial(put, row, person(cast.owner), text, seen=1) for text in texts))
    assert sorted(codes) == [""] + ["precondition_failed"] * (THREADS - 1)
    written = PolicyFile.objects.get(policy_set=row, name="custom.cedar").text
    assert written == texts[codes.index("")]


def test_what_is_validated_is_what_was_checked_however_edits_race_with_it() -> None:
    cast = installed()
    for _ in range(3):
        row = put(draft(person(cast.owner)), person(cast.owner))
        at_once(
            *[partial(validate, row, person(cast.owner))] * (THREADS // 2),
            *[partial(put, row, person(cast.owner), "// not what was checked\n")] * (THREADS // 2),
        )
        after = PolicySet.objects.get(pk=row.pk)
        text = after.files.get(name="custom.cedar").text
        if after.state == "validated":
            with pytest.raises((ConflictError, PreconditionFailedError)):
                put(after, person(cast.owner))
            assert after.hash == again(cast.owner.pk, text)
        else:
            assert text.startswith("// not")


def again(author: str, text: str) -> str | None:
    """Return the hash that a set of this text gets when nobody else is about."""
    actor = person(User.objects.get(pk=author))
    return validate(put(draft(actor), actor, text), actor).hash
