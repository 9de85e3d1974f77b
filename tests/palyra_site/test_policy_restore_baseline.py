"""`manage.py policy_restore_baseline`: the way out when rules lock everybody out."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.operations import installation
from kernel.clock import utc_now
from policy.set_selectors import require_set

pytestmark = pytest.mark.django_db
WHY = "The rules locked everybody out."


@pytest.fixture(autouse=True)
def _founded() -> None:
    installation.bootstrap(now=utc_now())


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("policy_restore_baseline", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_the_shipped_rules_are_in_force_and_the_journal_says_why() -> None:
    before = require_set("active")
    restored = run("--reason", WHY)
    active = require_set("active")
    assert (active.pk, active.hash) == (restored, before.hash)
    event = JournalEvent.objects.get(type="policy.baseline_restored", subject=restored)
    assert event.actor == "system"
    data = open_data(event)
    assert (data["reason"], data["left"]) == (WHY, before.pk)


@pytest.mark.parametrize("arguments", [(), ("--reason", "short"), ("--reason", " " * 20)])
def test_without_a_reason_nothing_changes(arguments: tuple[str, ...]) -> None:
    before = require_set("active")
    with pytest.raises(CommandError):
        run(*arguments)
    assert require_set("active") == before
