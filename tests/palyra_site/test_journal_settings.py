"""Settings under which the journal would not be sealed as it was meant are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django.fixtures import Settings

from palyra_site import checks
from palyra_site.journal_settings import JournalSettings, faults

GOOD = JournalSettings()


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        replace(GOOD, origin="palyra.example.com/log"),
        replace(GOOD, seal_seconds=0.1),
        replace(GOOD, seal_seconds=60.0),
        replace(GOOD, seal_before_run="all"),
        replace(GOOD, seal_before_run="off"),
        replace(GOOD, retention_days="1"),
        replace(GOOD, retention_days="keep"),
        replace(GOOD, witnesses=3, require_witness=3),
    ],
)
def test_what_makes_sense_is_taken(good: JournalSettings) -> None:
    assert faults(good) == []


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (replace(GOOD, origin="two words"), "palyra.E010"),
        (replace(GOOD, origin="a+b"), "palyra.E010"),
        (replace(GOOD, origin="line\nline"), "palyra.E010"),
        (replace(GOOD, origin="x" * 201), "palyra.E010"),
        *((replace(GOOD, seal_seconds=bad), "palyra.E011") for bad in (0.0, 0.09, 60.1, -1.0, 1e300)),
        (replace(GOOD, seal_seconds=float("nan")), "palyra.E011"),
        (replace(GOOD, seal_seconds=float("inf")), "palyra.E011"),
        *((replace(GOOD, seal_before_run=bad), "palyra.E012") for bad in ("", "none", "High", "low")),
        *((replace(GOOD, retention_days=bad), "palyra.E013") for bad in ("", "0", "-1", "1.5", "ever", "٣")),
        (replace(GOOD, retention_days="9" * 5_000), "palyra.E013"),
        (replace(GOOD, require_witness=1), "palyra.E014"),
        (replace(GOOD, witnesses=2, require_witness=3), "palyra.E014"),
        (replace(GOOD, witnesses=2, require_witness=-1), "palyra.E014"),
    ],
)  # fmt: skip
def test_what_does_not_is_named(bad: JournalSettings, code: str) -> None:
    assert [fault.id for fault in faults(bad)] == [code]


def test_check_and_the_sweeper_refuse_them(settings: Settings) -> None:
    settings.PALYRA_JOURNAL_SEAL_BEFORE_RUN = "hihg"
    assert [error.id for error in checks.journal(None)] == ["palyra.E012"]
    with pytest.raises(CommandError, match="SEAL_BEFORE_RUN"):
        call_command("sweeper", once=True)
