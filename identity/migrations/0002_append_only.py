"""Changes of feature flags can be added to and read, nothing else."""

from django.db import migrations

from identity.guards import GUARDED


def create(apps, schema_editor):
    for guard in GUARDED:
        for statement in guard.create(schema_editor.connection.vendor):
            schema_editor.execute(statement, params=None)


def drop(apps, schema_editor):
    for guard in GUARDED:
        for statement in guard.drop(schema_editor.connection.vendor):
            schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("identity", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
