"""Which directories become workspace roots, and whose they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction

from kernel.errors import InvalidError
from sandbox import selectors, services
from sandbox.models import WorkspaceRoot
from tests.builders import RecordedEvents
from tests.sandbox.execution_builders import AGENT, NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def base(tmp_path: Path, settings: object) -> Path:
    """A workspaces directory that has nothing to do with the server's home."""
    place = Path(os.path.realpath(tmp_path)) / "workspaces"
    place.mkdir()
    settings.PALYRA_WORKSPACES_DIR = str(place)  # type: ignore[attr-defined]  # pytest-django's fixture
    return place


def register(path: Path, *agents: str, record: RecordedEvents | None = None) -> WorkspaceRoot:
    return services.register_workspace_root(
        name=path.name or "root",
        path=path,
        agents=agents,
        mode_max="bind_rw",
        actor=AGENT,
        now=NOW,
        record=record or RecordedEvents(),
    )


def code_of(path: Path) -> str:
    with pytest.raises(InvalidError) as caught:
        register(path)
    return caught.value.errors[0].code


def test_root_belongs_to_its_agents_only(base: Path) -> None:
    (base / "demo").mkdir()
    events = RecordedEvents()
    root = register(base / "demo", "agt_one", "agt_two", record=events)
    assert selectors.root_for_agent("agt_one") == root
    assert selectors.root_for_agent("agt_two") == root
    assert selectors.root_for_agent("agt_stranger") is None
    assert events.names == ["workspace_root.changed"]


def test_agent_has_one_root(base: Path) -> None:
    for name in ("a", "b"):
        (base / name).mkdir()
    register(base / "a", "agt_one")
    with pytest.raises(IntegrityError), transaction.atomic():
        register(base / "b", "agt_one")


def test_missing_directory_and_plain_file_are_refused(base: Path) -> None:
    (base / "file").write_text("x")
    assert code_of(base / "absent") == "workspace_root.missing"
    assert code_of(base / "file") == "workspace_root.not_a_directory"


def test_symlink_in_any_component_is_refused(base: Path) -> None:
    (base / "real" / "inner").mkdir(parents=True)
    (base / "link").symlink_to(base / "real")
    assert code_of(base / "link") == "workspace_root.symlink"
    assert code_of(base / "link" / "inner") == "workspace_root.symlink"


@pytest.mark.parametrize("odd", [lambda b: Path("relative"), lambda b: Path(f"{b}/a/../b")])
def test_paths_that_are_not_normal_are_refused(base: Path, odd: Callable[[Path], Path]) -> None:
    assert code_of(odd(base)) == "workspace_root.not_normal"


def test_place_outside_the_workspaces_directory_is_refused(base: Path) -> None:
    assert code_of(base) == "workspace_root.outside_base"
    sibling = base.parent / "workspaces-other"
    sibling.mkdir()
    assert code_of(sibling) == "workspace_root.outside_base"


def test_root_home_and_own_directory_are_refused_even_with_a_careless_base(
    base: Path, settings: object, tmp_path: Path
) -> None:
    settings.PALYRA_WORKSPACES_DIR = "/"  # type: ignore[attr-defined]  # pytest-django's fixture
    home = base.parent / "home"
    (home / "keys").mkdir(parents=True)
    settings.PALYRA_HOME = home  # type: ignore[attr-defined]  # pytest-django's fixture
    assert code_of(Path("/")) == "workspace_root.holds_secrets"
    assert code_of(home) == "workspace_root.holds_secrets"
    assert code_of(home.parent) == "workspace_root.holds_secrets"
    assert code_of(home / "keys") == "workspace_root.holds_secrets"
    assert code_of(Path(os.path.realpath(Path.home()))) == "workspace_root.home_directory"
