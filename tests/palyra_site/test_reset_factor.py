"""`manage.py reset_factor`: the way back for an owner who lost the authenticator."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from governance.journal.models import JournalEvent
from governance.operations import installation
from identity.models import TotpFactor, User
from identity.passwords import link_owner
from kernel.clock import utc_now

pytestmark = pytest.mark.django_db
WHY = "The phone is gone."


@pytest.fixture(autouse=True)
def _founded() -> None:
    installation.bootstrap(now=utc_now())


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("reset_factor", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_the_last_owner_gets_a_setup_link_and_everything_old_is_gone() -> None:
    owner = User.objects.get(username="owner")
    text = run("owner", "--reason", WHY).rstrip("/").rpartition("/")[2]
    assert link_owner(text=text, now=utc_now()) == owner
    assert not TotpFactor.objects.filter(user=owner).exists()
    owner.refresh_from_db()
    assert (owner.has_usable_password(), owner.can_log_in) == (False, False)
    assert JournalEvent.objects.get(type="factor.reset", subject=owner.pk).actor == "system"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody", "--reason", WHY), "no such person"),
        (("demo-owner", "--reason", WHY), "cannot log in"),
        (("owner",), "--reason"),
    ],
)
def test_what_it_refuses(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run(*arguments)
    assert TotpFactor.objects.filter(user__username="owner").exists()
