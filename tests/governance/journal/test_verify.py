"""An untouched journal verifies, whole, in part and quickly, and a report says what was left out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from governance.journal.models import JournalLeaf
from governance.journal.sealing import seal
from governance.journal.verify import Options, Verification
from tests.governance.journal.attesting import attest
from tests.governance.journal.mass import fill
from tests.governance.journal.writing import NOW, write

pytestmark = pytest.mark.usefixtures("ready")


def test_an_untouched_journal_has_no_findings() -> None:
    run = fill(600)
    attest(run=run.pk)
    seal(now=NOW, limit=250)
    seal(now=NOW + timedelta(seconds=1), limit=300)
    seal(now=NOW + timedelta(seconds=2))
    write(run=run.pk, now=NOW + timedelta(seconds=3))

    verification = Verification(Options(), NOW + timedelta(seconds=4))
    report = verification.run()

    assert report.first == []
    assert report.is_clean
    assert (report.events, report.attestations) == (JournalLeaf.objects.count(), 1)
    assert report.checkpoints == 3
