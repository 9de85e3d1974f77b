"""Real threads on feature flags: what one change asks of another does not move under it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest
from django.db import connection, transaction

from identity.models import FeatureFlag, FeatureFlagChange
from identity.rollout import FlagChange, FlagWishes, change_flag
from kernel.errors import PalyraError
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, make_workspaces

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 8


def change(key: str, enabled: bool, seen: int, *, cascade: bool = False) -> FlagChange:
    with transaction.atomic():
        return change_flag(
            key=key,
            wishes=FlagWishes("asked for in a test", enabled, cascade=cascade),
            seen_version=seen,
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


def together(*works: partial[FlagChange]) -> list[FlagChange | PalyraError]:
    """Do all at once on connections of their own; a refusal counts as a result."""
    barrier = Barrier(len(works))

    def run(work: partial[FlagChange]) -> FlagChange | PalyraError:
        try:
            barrier.wait(timeout=30)
            return work()
        except PalyraError as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def codes(results: list[FlagChange | PalyraError]) -> list[str]:
    return sorted(one.code for one in results if isinstance(one, PalyraError))


@pytest.fixture(autouse=True)
def workspaces() -> None:
    make_workspaces()


def test_of_eight_who_saw_one_version_one_changes_it() -> None:
    results = together(*[partial(change, "break_glass", True, 0)] * 8)
    assert codes(results) == ["precondition_failed"] * 7
    assert FeatureFlagChange.objects.count() == FeatureFlag.objects.get(pk="break_glass").version == 1


def test_a_feature_is_never_left_on_above_one_that_went_off() -> None:
    versions = {"api_tokens": 0, "mcp": 0}
    for _ in range(ROUNDS):
        results = together(
            partial(change, "mcp", True, versions["mcp"]),
            partial(change, "api_tokens", False, versions["api_tokens"], cascade=True),
        )
        assert codes(results) in ([], ["dependency_off"])
        rows = {row.key: row for row in FeatureFlag.objects.all()}
        assert not rows["api_tokens"].enabled
        assert "mcp" not in rows or not rows["mcp"].enabled
        change("api_tokens", True, rows["api_tokens"].version)
        versions = dict(FeatureFlag.objects.values_list("key", "version"))
        versions.setdefault("mcp", 0)


def test_without_consent_either_the_child_comes_on_or_the_parent_goes_off() -> None:
    for _ in range(ROUNDS):
        seen = {row.key: row.version for row in FeatureFlag.objects.all()}
        results = together(
            partial(change, "mcp", True, seen.get("mcp", 0)),
            partial(change, "api_tokens", False, seen.get("api_tokens", 0)),
        )
        assert codes(results) == ["dependency_off"]
        rows = {row.key: row for row in FeatureFlag.objects.all()}
        if "mcp" in rows and rows["mcp"].enabled:
            change("mcp", False, rows["mcp"].version)
        if "api_tokens" in rows and not rows["api_tokens"].enabled:
            change("api_tokens", True, rows["api_tokens"].version)
