"""Loaded before settings: gives each test process a home of its own and notes what a test needs."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

NEEDS = ("sandbox", "browser", "postgres", "redis", "e2e")


def _make_home() -> Path:
    """Return a fresh home; an xdist worker's lies in that of the session.

    The runner gives a directory and removes it even when pytest is killed; without it, pytest does.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        home = Path(os.environ["PALYRA_HOME"]) / worker
        home.mkdir()
        return home
    given = os.environ.get("PALYRA_TEST_HOME")
    if given is not None:
        return Path(given)
    home = Path(tempfile.mkdtemp(prefix="palyra-test-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _make_place(variable: str) -> None:
    """Give what the sandbox's user has to reach a directory outside the home, and remove it at the end.

    Without it a test run as root would leave workspaces in the system's own place.
    """
    place = Path(tempfile.mkdtemp(prefix="palyra-test-place-"))
    place.chmod(0o711)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.environ[variable] = str(place / "there")


os.environ["PALYRA_HOME"] = str(_make_home())
for _variable in ("PALYRA_WORKSPACES_DIR", "PALYRA_SANDBOX_DIR"):
    _make_place(_variable)


# The kernel counts processes by user: what one test's tools fork would leave another's without any.
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["PALYRA_SANDBOX_UID"] = str(61_184 + _NUMBER)

# What a thousand tests leave alive need not be walked again and again.
gc.set_threshold(200_000, 20, 100)

# How long an example takes on a busy machine says nothing about what it shows.
settings.register_profile("palyra", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("palyra")

GOVERNANCE = Path(__file__).parent / "governance"
CONSOLE = GOVERNANCE / "admin"
WIRE = frozenset(
    GOVERNANCE / "api" / f"test_{name}.py"
    for name in (
        "access",
        "agent_attacks",
        "agents",
        "answers",
        "approval_acts",
        "approvals",
        "authentication",
        "authzen",
        "authzen_certification",
        "bodies",
        "bootstrap",
        "conformance",
        "edge",
        "edit",
        "errors",
        "explain",
        "features",
        "freezes",
        "grants",
        "identity_shapes",
        "jobs",
        "labels",
        "limits",
        "matrix",
        "openapi",
        "people",
        "policy_carrying",
        "policy_sets",
        "posture",
        "posture_acts",
        "runs_and_calls",
        "simulations",
        "strangers",
        "token_marks",
        "tokens",
        "tools",
        "webhooks",
        "workspaces",
    )
) | {GOVERNANCE / "test_operation_matrix.py"}
"""What is said over HTTP, to whom and in which shape. The services behind it have tests of their own."""

WALKS = frozenset(
    {
        "test_each_role_sees_exactly_the_pages_of_its_permissions",
        "test_no_list_counts_or_asks_once_per_row",
        "test_lists_are_walked_by_key_in_both_directions",
    }
)
"""Every page of the console, for everybody, with all that it asks the database."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write each test's needs into the report, so that the runner can tell a skip that must not be.

    With `PALYRA_TEST_STORED` set, tests that touch no database are left out, and those of what pages of
    the console and bare HTTP say: on another database they go through the walk over every page, through
    the other tests of the API and through the races.
    """
    for item in items:
        item.user_properties.extend(("needs", need) for need in NEEDS if item.get_closest_marker(need))
    if os.environ.get("PALYRA_TEST_STORED"):
        free = [item for item in items if not _is_stored(item)]
        config.hook.pytest_deselected(items=free)
        items[:] = [item for item in items if _is_stored(item)]


def _is_stored(item: pytest.Item) -> bool:
    is_words = item.path in WIRE or (item.path.parent == CONSOLE and _name_of(item) not in WALKS)
    if is_words:
        return item.get_closest_marker("postgres") is not None
    asked = set(getattr(item, "fixturenames", ()))
    marked = item.get_closest_marker("django_db") or item.get_closest_marker("postgres")
    return marked is not None or bool(asked & {"db", "transactional_db", "django_db_setup"})


def _name_of(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", item.name))
