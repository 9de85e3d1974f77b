"""What the baseline leaves in an instance that had none."""

from __future__ import annotations

import pytest

from policy.catalog import BUILTINS
from policy.lifecycle import SetState
from tests.cast import make_workspaces
from tests.policy.test_installation import install

pytestmark = pytest.mark.django_db


def test_installing_activates_version_one_and_records_each_step() -> None:
    make_workspaces()
    active, record = install()
    assert (active.version, active.state) == (1, SetState.ACTIVE)
    assert (active.hash or "").startswith("sha256:")
    expected = [f"policy.{step}" for step in ("drafted", "validated", "activated")]
    assert [name for name in record.names if name.startswith("policy.")] == expected
    assert record.names.count("tool.registered") == len(BUILTINS)
