"""Events of postures can be added to and read, nothing else."""

from django.db import migrations

from policy.guards import GUARDED


def create(apps, schema_editor):
    for guard in GUARDED:
        for statement in guard.create(schema_editor.connection.vendor):
            schema_editor.execute(statement, params=None)


def drop(apps, schema_editor):
    for guard in GUARDED:
        for statement in guard.drop(schema_editor.connection.vendor):
            schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("policy", "0002_immutable")]
    operations = [migrations.RunPython(create, drop)]
