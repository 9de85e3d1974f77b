"""`access_backfill` and `reseal_identity` as an operator types them."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import transaction
from pytest_django.fixtures import Settings

from governance.journal.models import JournalEvent
from governance.operations import installation
from identity.access import FEATURES
from identity.models import Agent, FeatureFlag, TotpFactor
from identity.sealing import open_field
from kernel.clock import utc_now

pytestmark = pytest.mark.django_db(transaction=True)
OTHER = "44" * 32


@pytest.fixture(autouse=True)
def founded(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    assert installation.bootstrap(now=utc_now()) is not None


def typed(command: str, *options: str) -> tuple[int, str, str]:
    """Return the exit code and what was written."""
    out, err = StringIO(), StringIO()
    try:
        call_command(command, *options, stdout=out, stderr=err)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_a_dry_run_says_what_is_missing_and_writes_nothing() -> None:
    before = FeatureFlag.objects.count()
    code, out, _ = typed("access_backfill", "--dry-run")
    assert code == 1
    assert "flag rbac would be written down at its default\n" in out
    assert "api_tokens" not in out
    assert FeatureFlag.objects.count() == before


def test_the_backfill_is_done_once() -> None:
    code, out, _ = typed("access_backfill")
    assert (code, out.count("was written down")) == (0, len(FEATURES) - 2)
    assert FeatureFlag.objects.count() == len(FEATURES)
    assert JournalEvent.objects.filter(type="access.backfilled").count() == 1
    assert typed("access_backfill") == (0, "nothing to do\n", "")
    assert typed("access_backfill", "--dry-run") == (0, "nothing to do\n", "")
    assert JournalEvent.objects.filter(type="access.backfilled").count() == 1


def test_orphans_are_named_and_end_the_command_with_one() -> None:
    typed("access_backfill")
    with transaction.atomic():
        Agent.objects.filter(name="demo-agent").update(state="archived")
    code, out, _ = typed("access_backfill")
    assert code == 1
    assert out.endswith(": its agent is archived\n")


def test_resealing_brings_everything_under_the_present_key(settings: Settings) -> None:
    present = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OTHER, [present]
    code, out, _ = typed("reseal_identity", "--dry-run")
    assert (code, out) == (0, "0 under the present key, 1 to rewrite\n")
    assert typed("reseal_identity")[1] == "0 under the present key, 1 rewritten\n"
    settings.SECRET_KEY_FALLBACKS = []
    factor = TotpFactor.objects.get()
    assert len(open_field("TotpFactor", str(factor.pk), "seed", bytes(factor.seed_sealed))) == 20
    assert typed("reseal_identity") == (0, "1 under the present key, 0 rewritten\n", "")
    assert JournalEvent.objects.filter(type="identity.resealed").count() == 1


def test_what_no_key_opens_is_named_and_ends_the_command_with_one(settings: Settings) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OTHER, []
    code, out, err = typed("reseal_identity")
    assert (code, out) == (1, "0 under the present key, 0 rewritten\n")
    assert err == f"TotpFactor {TotpFactor.objects.get().pk} opens under no listed key file\n"
