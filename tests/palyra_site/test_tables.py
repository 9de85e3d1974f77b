"""A database that an earlier wording of the migrations made is noticed, and no other is."""

from __future__ import annotations

import pytest
from django.core.management import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from palyra_site.management.commands.up import Command
from palyra_site.tables import broken_promises

pytestmark = pytest.mark.django_db


def test_a_database_of_these_migrations_keeps_every_promise() -> None:
    assert broken_promises() == ()


def test_a_new_database_promises_nothing() -> None:
    MigrationRecorder.Migration.objects.all().delete()
    assert broken_promises() == ()


def test_an_older_release_that_is_only_followed_by_new_migrations_is_welcome() -> None:
    """What a migration that did not run yet would add is no broken promise."""
    MigrationRecorder.Migration.objects.filter(app="sandbox").delete()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE sandbox_sandboxprobe")
    assert broken_promises() == ()


def test_a_table_that_an_applied_migration_promises_is_missed() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE governance_job")
    assert broken_promises() == ("governance_job",)


def test_a_column_is_missed_and_the_start_says_what_to_do() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE governance_job RENAME COLUMN message TO other")
    assert broken_promises() == ("governance_job.message",)
    with pytest.raises(CommandError, match="earlier version"):
        Command()._prepare()
