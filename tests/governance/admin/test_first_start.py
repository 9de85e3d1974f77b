"""A fresh installation: one person, no call yet, credentials still lying about."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from governance.operations import installation
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from tests.cast import enrol, make_user
from tests.governance.admin.world import sign_in

ALONE = "One person decides alone"
LEFT_BEHIND = "The first start&#x27;s credentials still work"


@pytest.fixture
def owner(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(settings, "PALYRA_HOME", tmp_path)
    installation.bootstrap(now=utc_now())
    person = User.objects.get(username="owner")
    enrol(person)
    return sign_in(person)


def test_home_shows_a_checklist_whose_marks_come_from_the_data(owner: Client) -> None:
    html = owner.get("/admin/").content.decode()
    assert "Getting started" in html
    assert html.count('<li class="done">') == 2
    assert "Nothing was denied." in html


def test_the_standing_warning_ends_by_itself_with_a_second_person(owner: Client) -> None:
    assert all(ALONE in owner.get(path).content.decode() for path in ("/admin/", "/admin/tools/"))
    make_user("second", WorkspaceRole.APPROVER, workspace=Workspace.objects.get(slug="default"))
    assert ALONE not in owner.get("/admin/").content.decode()


def test_the_banner_of_the_bootstrap_credentials_ends_with_their_file(owner: Client, tmp_path: Path) -> None:
    assert LEFT_BEHIND not in owner.get("/admin/").content.decode()
    (tmp_path / "bootstrap.json").write_text("{}")
    assert LEFT_BEHIND in owner.get("/admin/calls/").content.decode()
