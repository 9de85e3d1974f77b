"""`manage.py admin_token`: the one way to a token of kind `adm`."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from governance.journal.models import JournalEvent
from governance.operations import installation
from identity.models import ApiToken, User
from identity.tokens import PATTERN
from kernel.clock import utc_now

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _founded() -> None:
    installation.bootstrap(now=utc_now())


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("admin_token", *arguments, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue()


def test_it_prints_the_text_alone_and_leaves_the_event_of_the_shell() -> None:
    out, err = run("--user", "owner", "--scope", "tools.manage", "--scope", "readonly", "--days", "3")
    assert re.fullmatch(PATTERN, out)
    token = ApiToken.objects.get(lookup=out.split("_")[2])
    assert token.pk in err
    assert out not in err
    assert (token.kind, token.allowed_networks) == ("adm", ["127.0.0.0/8", "::1/128"])
    assert token.expires_at - token.created_at == timedelta(days=3)
    assert {"tools.manage", "journal.read"} <= set(token.scopes)
    assert JournalEvent.objects.get(type="token.minted", subject=token.pk).actor == "system"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--user", "nobody", "--scope", "readonly"), "no such person"),
        (("--user", "demo-owner", "--scope", "readonly"), "no such person"),
        (("--user", "owner", "--scope", "no.such"), "no.such"),
        (("--user", "owner", "--scope", "readonly", "--days", "31"), "30 days"),
        (("--user", "owner", "--scope", "readonly", "--network", "x"), "no network"),
        (("--user", "owner"), "--scope"),
    ],
)
def test_what_it_refuses(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run(*arguments)
    assert not ApiToken.objects.filter(kind="adm").exists()


def test_a_person_who_was_disabled_gets_none() -> None:
    User.objects.filter(username="owner").update(is_active=False)
    with pytest.raises(CommandError):
        run("--user", "owner", "--scope", "readonly")
