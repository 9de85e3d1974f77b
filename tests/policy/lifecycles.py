"""How tests bring a policy set from draft to force: through the services, in transactions of their own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction

from identity.models import User
from identity.roles import WorkspaceRole
from kernel.record import Actor
from policy import activation, sets
from policy.activation import ActivationWish, Consent
from policy.models import PolicySet, SimulationRun
from policy.runtime import load_tools
from policy.set_checking import Checked, check_text
from policy.set_selectors import active_set, set_text
from policy.sets import Text, text_of
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast, make_user

REASON = "because the tests say so"
NO_FTP = """@id("no_ftp")
@description("Nothing is fetched by FTP.")
forbid (principal, action == Palyra::Action::"tool.execute:http.fetch", resource)
when { context has input && context.input.url_scheme == "ftp" };
"""


def person(user: User) -> Actor:
    return Actor("user", user.pk, "session", "console")


def admin(cast: Cast, name: str) -> User:
    """Return another person who may edit and activate rules everywhere."""
    return make_user(name, WorkspaceRole.ADMIN, workspace=cast.instance)


def draft(actor: Actor, *, text: Text | None = None, record: RecordedEvents | None = None) -> PolicySet:
    """Draft from the set in force, or from `text`."""
    active = active_set()
    with transaction.atomic():
        return sets.draft_set(
            title="No FTP",
            note="asked for by the network team",
            text=text or (text_of(active) if active else Text()),
            actor=actor,
            now=NOW,
            record=record or RecordedEvents(),
        )


def put(
    row: PolicySet,
    actor: Actor,
    text: str = NO_FTP,
    *,
    name: str = "custom.cedar",
    seen: int | None = None,
    record: RecordedEvents | None = None,
) -> PolicySet:
    """Write one file of a draft as it stands now, or as it was at `seen`."""
    with transaction.atomic():
        return sets.put_file(
            set_id=row.pk,
            name=name,
            text=text,
            seen_version=PolicySet.objects.get(pk=row.pk).edit_version if seen is None else seen,
            actor=actor,
            now=NOW,
            record=record or RecordedEvents(),
        )


def checked(row: PolicySet) -> Checked:
    return check_text(set_text(row), load_tools())


def validate(row: PolicySet, actor: Actor, *, record: RecordedEvents | None = None) -> PolicySet:
    """Check a draft and keep what was found."""
    row = PolicySet.objects.get(pk=row.pk)
    found = checked(row)
    with transaction.atomic():
        return sets.store_check(
            set_id=row.pk,
            seen_version=row.edit_version,
            checked=found,
            actor=actor,
            now=NOW,
            record=record or RecordedEvents(),
        )


def simulated(row: PolicySet, **changes: object) -> SimulationRun:
    """Store a finished simulation of a set against the one in force, as the replay leaves it."""
    row = PolicySet.objects.get(pk=row.pk)
    active = active_set(row.domain)
    facts: Mapping[str, object] = {
        "state": "succeeded",
        "draft_hash": row.hash or "",
        "against_set": active,
        "against_hash": active.hash if active else "",
        "epoch": 1,
        "asked": {},
        "available": 0,
        "total": 0,
        "started_by": "usr_test",
        "created_at": NOW - timedelta(minutes=2),
        "finished_at": NOW - timedelta(minutes=1),
    }
    number = row.simulations.count() + 1
    return SimulationRun.objects.create(policy_set=row, number=number, **{**facts, **changes})


def ready(cast: Cast, author: User, text: str = NO_FTP, *, name: str = "custom.cedar") -> PolicySet:
    """Return a validated and simulated set with one more file, all of it by `author`."""
    row = validate(put(draft(person(author)), person(author), text, name=name), person(author))
    simulated(row)
    return row


def activate(
    row: PolicySet,
    actor: Actor,
    *,
    wish: ActivationWish | None = None,
    consent: Consent | None = None,
    now: datetime = NOW,
    record: RecordedEvents | None = None,
) -> PolicySet:
    """Put a set in force."""
    with transaction.atomic():
        return activation.activate(
            set_id=row.pk,
            wish=wish or ActivationWish(REASON, 1, 0),
            consent=consent or Consent(asked_by=actor.id),
            actor=actor,
            now=now,
            record=record or RecordedEvents(),
        )


def rollback(
    row: PolicySet,
    actor: Actor,
    *,
    consent: Consent | None = None,
    now: datetime = NOW,
    record: RecordedEvents | None = None,
) -> PolicySet:
    """Put the text of an earlier set in force again."""
    with transaction.atomic():
        return activation.rollback(
            set_id=row.pk,
            reason=REASON,
            consent=consent or Consent(asked_by=actor.id),
            actor=actor,
            now=now,
            record=record or RecordedEvents(),
        )
