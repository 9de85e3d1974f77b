"""Django knows each permission of the matrix by name; nobody is ever given one by hand."""

from django.db import migrations

from identity.roles import Permission


def create(apps, schema_editor):
    """Bring Django's table to the permissions of this version: missing ones made, stale ones removed."""
    alias = schema_editor.connection.alias
    rows = apps.get_model("auth", "Permission").objects.using(alias)
    place, _ = apps.get_model("contenttypes", "ContentType").objects.using(alias).get_or_create(
        app_label="identity", model="workspace"
    )
    names = {permission.codename: permission.value for permission in Permission}
    rows.filter(content_type_id=place.pk).exclude(codename__in=names).delete()
    for codename, name in names.items():
        rows.update_or_create(content_type_id=place.pk, codename=codename, defaults={"name": name})


def drop(apps, schema_editor):
    alias = schema_editor.connection.alias
    rows = apps.get_model("auth", "Permission").objects.using(alias)
    rows.filter(content_type__app_label="identity", content_type__model="workspace").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_append_only"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(create, drop)]
