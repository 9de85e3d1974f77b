"""A person's answer stays as it was given; only an erasure empties what they wrote."""

from django.db import migrations

from approvals.guards import REVIEWS


def create(apps, schema_editor):
    for statement in REVIEWS.create(schema_editor.connection.vendor):
        schema_editor.execute(statement, params=None)


def drop(apps, schema_editor):
    for statement in REVIEWS.drop(schema_editor.connection.vendor):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("approvals", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
