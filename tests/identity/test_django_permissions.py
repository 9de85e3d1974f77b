"""Django's own permissions: one for each of the matrix, none beside it, and none ever assigned."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission as DjangoPermission
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from identity.models import User, Workspace
from identity.roles import MATRIX, Permission, WorkspaceRole
from kernel.clock import utc_now
from tests.cast import make_user, make_workspaces

pytestmark = pytest.mark.django_db
CODENAMES = {permission.value.replace(".", "_") for permission in Permission}
migration = import_module("identity.migrations.0003_permissions")


def migrate() -> None:
    migration.create(apps, SimpleNamespace(connection=connection))


def stored() -> set[str]:
    place = ContentType.objects.get_for_model(Workspace)
    return set(DjangoPermission.objects.filter(content_type=place).values_list("codename", flat=True))


def test_the_migration_makes_each_permission_of_the_matrix_and_nothing_else() -> None:
    DjangoPermission.objects.all().delete()
    migrate()
    assert stored() == CODENAMES
    assert {permission.codename for permission in Permission} == CODENAMES
    assert len(CODENAMES) == len(Permission)


def test_the_migration_removes_what_went_and_renames_what_stayed() -> None:
    migrate()
    place = ContentType.objects.get_for_model(Workspace)
    DjangoPermission.objects.create(content_type=place, codename="no_such_verb", name="no.such_verb")
    DjangoPermission.objects.filter(content_type=place, codename="policy_edit").update(name="stale")
    migrate()
    assert stored() == CODENAMES
    assert DjangoPermission.objects.get(content_type=place, codename="policy_edit").name == "policy.edit"


def test_a_person_has_in_django_what_the_matrix_gives() -> None:
    instance, default = make_workspaces()
    viewer = make_user("viewer", WorkspaceRole.VIEWER, workspace=default)
    owner = make_user("owner", WorkspaceRole.OWNER, workspace=instance)
    for permission in Permission:
        assert owner.has_perm(f"identity.{permission.codename}") is (
            WorkspaceRole.OWNER in MATRIX[permission]
        )
        assert viewer.has_perm(f"identity.{permission.codename}") is (
            WorkspaceRole.VIEWER in MATRIX[permission]
        )


@pytest.mark.parametrize("name", ["identity.add_user", "auth.policy_edit", "policy_edit", "identity.", ""])
def test_no_other_name_means_anything(name: str) -> None:
    instance, _ = make_workspaces()
    assert not make_user("owner", WorkspaceRole.OWNER, workspace=instance).has_perm(name)


def test_nothing_can_be_assigned_by_hand() -> None:
    assert not hasattr(User(created_at=utc_now()), "user_permissions")
    assert not hasattr(User(created_at=utc_now()), "groups")
