"""The files of a policy set: rules in Cedar, and tests of the set in JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence

from policy.reading import SourceFile

POLICY_NAME = re.compile(r"[a-z0-9_-]{1,64}\.cedar")
TEST_NAME = re.compile(r"[a-z0-9_-]{1,64}\.test\.json")


def is_file_name(name: str) -> bool:
    """Tell whether a set may hold a file of this name."""
    return bool(POLICY_NAME.fullmatch(name) or TEST_NAME.fullmatch(name))


def policy_files(files: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    """Return the files that are compiled: all but the tests."""
    return tuple(file for file in files if not TEST_NAME.fullmatch(file.name))


def test_files(files: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    """Return the files that hold tests of the set."""
    return tuple(file for file in files if TEST_NAME.fullmatch(file.name))
