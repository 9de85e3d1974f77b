"""What the journal says about itself."""

from __future__ import annotations

from typing import Any

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.JOURNAL_KEY_ROTATED)
class KeyRotated:
    """`previous` is null for the first key of a purpose."""

    purpose: str
    key_id: str
    previous: str | None


@event(E.RECORD_VIEWED)
class RecordViewed:
    """Somebody had what is encrypted opened: `count` records of the kind `what`, or those from now on.

    `ids` are the records, as far as an event has room for them.
    """

    what: str
    count: int | None
    ids: list[str]


@event(E.JOURNAL_INCONSISTENT)
class Inconsistent:
    """The sealer refuses: what is stored is not what was signed. Said once, until sealing goes on."""

    detail: str


@event(E.JOURNAL_EXPORTED)
class Exported:
    """Leaves `first_seq` up to `end_seq` were taken away, with their data if `revealed`."""

    format: str
    first_seq: int
    end_seq: int
    tree_size: int
    follow: bool
    revealed: bool


@event(E.JOURNAL_KEY_REVOKED)
class KeyRevoked:
    """Nothing that the key signed from `since` on counts."""

    purpose: str
    key_id: str
    since: str


@event(E.JOURNAL_SUBJECT_ERASED)
class SubjectErased:
    """The envelope's subject lost its keys. `counts` says of how many rows of each kind words were taken."""

    reason: str
    approval: str
    single_operator: bool
    counts: dict[str, Any]


@event(E.JOURNAL_ARCHIVED)
class Archived:
    """The leaves from `first_seq` to before `end_seq` lie in a file that was read back."""

    first_seq: int
    end_seq: int
    file: str
    sha256: str
    bytes: int


@event(E.JOURNAL_RESTORED)
class Restored:
    """Rows come back out of an archive: `events` of them were not there."""

    first_seq: int
    end_seq: int
    sha256: str
    events: int


@event(E.JOURNAL_HOLD_SET)
class HoldSet:
    """Without a subject the hold keeps everything of its period."""

    subject: str | None
    since: str | None
    until: str | None
    reason: str


@event(E.JOURNAL_HOLD_LIFTED)
class HoldLifted:
    """A hold ended that `set_by` had set."""

    subject: str | None
    set_by: str


@event(E.JOURNAL_VERIFIED)
class Verified:
    """What a verification read and found: `counts` has how many findings there are of each code.

    Leaves `first_seq` up to `end_seq` of `tree_size` were read. `keys` are those that signatures were
    checked with, `skipped` says in words what was left out.
    """

    first_seq: int
    end_seq: int
    tree_size: int
    events: int
    checkpoints: int
    attestations: int
    anchors: int
    erased: int
    archived: int
    findings_total: int
    counts: dict[str, Any]
    skipped: list[str]
    keys: list[str]
