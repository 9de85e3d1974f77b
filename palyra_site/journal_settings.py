"""Whether the settings of the journal make sense. Pure: `check` and the sweeper ask it."""

from __future__ import annotations

from dataclasses import dataclass

from governance.journal.note import is_origin
from palyra_site.exposure import Finding

SHORTEST, LONGEST = 0.1, 60.0
BEFORE_RUN = ("high", "all", "off")
FOREVER = "keep"


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """What the environment says, not yet judged. `origin` is empty for the one of the instance."""

    origin: str = ""
    seal_seconds: float = 1.0
    seal_before_run: str = "high"
    retention_days: str = "400"
    witnesses: int = 0
    require_witness: int = 0


def faults(given: JournalSettings) -> list[Finding]:
    """Return what is wrong, each with what to do about it."""
    found = []
    if given.origin and not is_origin(given.origin):
        hint = "1 to 200 characters without spaces, controls or a plus, such as palyra.example.com/log."
        found.append(Finding("palyra.E010", "PALYRA_JOURNAL_ORIGIN cannot name a log", hint))
    if not SHORTEST <= given.seal_seconds <= LONGEST:
        hint = f"{SHORTEST:g} to {LONGEST:g} seconds."
        found.append(Finding("palyra.E011", "PALYRA_JOURNAL_SEAL_SECONDS is out of range", hint))
    if given.seal_before_run not in BEFORE_RUN:
        hint = f"One of {', '.join(BEFORE_RUN)}."
        found.append(Finding("palyra.E012", "PALYRA_JOURNAL_SEAL_BEFORE_RUN is not known", hint))
    if not _is_term(given.retention_days):
        hint = f"A number of days from 1 on, or {FOREVER}."
        found.append(Finding("palyra.E013", "PALYRA_JOURNAL_RETENTION_DAYS is no term", hint))
    if not 0 <= given.require_witness <= given.witnesses:
        hint = "Not more than PALYRA_JOURNAL_WITNESSES names, and not below 0."
        found.append(
            Finding("palyra.E014", "PALYRA_JOURNAL_REQUIRE_WITNESS asks for witnesses there are not", hint)
        )
    return found


def _is_term(text: str) -> bool:
    return text == FOREVER or (text.isascii() and text.isdigit() and int(text[:6]) >= 1 and len(text) <= 6)
