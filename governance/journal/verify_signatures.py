"""Whether each checkpoint was signed by a key that was this log's at that time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from governance.journal import note
from governance.journal.findings import Code, Finding
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalKey, JournalLeaf
from governance.journal.verify_tree import StoredCheckpoint
from kernel.canonical import digest_bytes
from kernel.errors import InvalidError
from vault import services as vault
from vault.types import KeyPurpose

ROTATED, REVOKED = "journal.key_rotated", "journal.key_revoked"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A published key, and when its signatures count: by times of columns, and by places in the log.

    `first_seq` and `end_seq` are the events of its own rotation and of its successor's, None for the first
    key and the last. `last_size` is the first checkpoint over that successor's event. The log is signed,
    columns are not; and it orders what clocks of several machines cannot.
    """

    key_id: str
    public: bytes
    not_before: datetime
    retired_at: datetime | None
    revoked_at: datetime | None
    first_seq: int | None = None
    end_seq: int | None = None
    last_size: int | None = None

    def counts_in_order(self, moment: datetime, seq: int | None) -> bool:
        """Tell whether a signature counts whose event has this time, and this place unless it waits."""
        if self.revoked_at is not None and moment >= self.revoked_at:
            return False
        if seq is None:
            return self.end_seq is None
        after = self.first_seq is None or seq > self.first_seq
        return after and (self.end_seq is None or seq < self.end_seq)

    def counts_at(self, moment: datetime, size: int = 0) -> bool:
        """Tell whether a signature made at this time, over this many leaves, counts."""
        if moment < self.not_before or (self.last_size is not None and size > self.last_size):
            return False
        is_retired = self.retired_at is not None and moment > self.retired_at
        return not is_retired and (self.revoked_at is None or moment < self.revoked_at)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one purpose by id, and what is wrong with rows that are no keys of this log."""

    keys: Mapping[str, SigningKey]
    faults: tuple[Finding, ...]
    vouched: Mapping[str, str]

    @property
    def publics(self) -> dict[str, bytes]:
        return {key_id: key.public for key_id, key in self.keys.items()}


def key_ring(purpose: KeyPurpose, given: tuple[bytes, ...], *, ask_vault: bool) -> KeyRing:
    """Read the published keys. A key counts when its event stands in the log and, if asked, in the vault.

    The table can be written by whoever writes the database; the vault's private halves cannot be made
    without the key-encryption key. `given` are keys that were handed in from outside: they count without
    either, and stand for themselves.
    """
    keys: dict[str, SigningKey] = {}
    vouched: dict[str, str] = {}
    faults: list[Finding] = []
    rows = list(JournalKey.objects.filter(purpose=purpose).order_by("not_before", "key_id"))
    places = [_seq_of(row.rotation_event) for row in rows]
    for at, row in enumerate(rows):
        public = bytes(row.public_key)
        fault, proof = _standing(row, public, given, ask_vault=ask_vault)
        if fault:
            faults.append(Finding(Code.KEY_UNKNOWN, None, row.rotation_event, f"key {row.key_id}: {fault}"))
            continue
        end = places[at + 1] if at + 1 < len(rows) else None
        revoked_at, told = _revocation(row)
        faults += told
        keys[row.key_id] = SigningKey(
            key_id=row.key_id,
            public=public,
            not_before=row.not_before,
            retired_at=row.retired_at,
            revoked_at=revoked_at,
            first_seq=places[at] if at else None,
            end_seq=end,
            last_size=_first_size_over(end),
        )
        vouched[row.key_id] = proof
    return KeyRing(keys, tuple(faults), vouched)


def _standing(
    row: JournalKey, public: bytes, given: tuple[bytes, ...], *, ask_vault: bool
) -> tuple[str, str]:
    """Return why a key does not count, or what vouches for it."""
    if digest_bytes(public) != row.key_id:
        return "its id is not that of its bytes", ""
    if public in given:
        return "", "given"
    if not _is_announced(row):
        return "no event of the log announces it", ""
    if not ask_vault:
        return "", "the log alone"
    if not vault.holds_signing_key(KeyPurpose(row.purpose), row.key_id):
        return "the vault holds no such key", ""
    return "", "vault"


def _is_announced(row: JournalKey) -> bool:
    """An archived event leaves its leaf; its type and subject then stand in the archive."""
    event = JournalEvent.objects.filter(pk=row.rotation_event).values_list("type", "subject").first()
    if event is not None:
        return event == (ROTATED, row.key_id)
    return JournalLeaf.objects.filter(event_id=row.rotation_event).exists()


def _revocation(row: JournalKey) -> tuple[datetime | None, list[Finding]]:
    """Return since when a key does not count: its column may be earlier than its events, not later."""
    events = JournalEvent.objects.filter(type=REVOKED, subject=row.key_id).order_by("time", "pk")
    first = events.values_list("pk", "time").first()
    if first is None or (row.revoked_at is not None and row.revoked_at <= first[1]):
        return row.revoked_at, []
    detail = f"key {row.key_id}: its row does not say that it was revoked"
    return first[1], [Finding(Code.COLUMN_MISMATCH, _seq_of(first[0]), first[0], detail)]


def _seq_of(event_id: str) -> int | None:
    return JournalLeaf.objects.filter(event_id=event_id).values_list("seq", flat=True).first()


def _first_size_over(seq: int | None) -> int | None:
    if seq is None:
        return None
    sizes = JournalCheckpoint.objects.filter(tree_size__gt=seq).order_by("tree_size")
    return sizes.values_list("tree_size", flat=True).first()


class Signatures:
    """Checks the notes of checkpoints, and hands on what the tree has to agree with."""

    def __init__(self, ring: KeyRing, newest: int) -> None:
        """Checkpoints larger than `newest` were made since the verification began and are left alone."""
        self._ring, self._newest = ring, newest
        self.origins: list[str] = []
        self._publics = ring.publics
        self.checked = 0
        self._latest: datetime | None = None
        self._found: list[Finding] = []

    def checkpoints(self, after: int, limit: int) -> list[StoredCheckpoint]:
        """Return the checkpoints larger than `after`, the smallest first; `taken` has what is wrong."""
        rows = JournalCheckpoint.objects.filter(tree_size__gt=after, tree_size__lte=self._newest)
        rows = rows.order_by("tree_size")
        return [self._checked(row) for row in rows[:limit]]

    def taken(self) -> Iterator[Finding]:
        """Hand over the findings about notes since the last time."""
        found, self._found = self._found, []
        yield from found

    def _checked(self, row: JournalCheckpoint) -> StoredCheckpoint:
        self.checked += 1
        fault = self._fault(row) or self._time_fault(row)
        if fault is not None:
            code, detail = fault
            self._found.append(
                Finding(code, row.tree_size - 1, None, f"checkpoint {row.tree_size}: {detail}")
            )
        return StoredCheckpoint(
            row.tree_size, bytes(row.root), bytes(row.chain_head), bytes(row.frontier), fault is None
        )

    def _goes_on(self, origin: str) -> bool:
        """An operator may begin another name for the log, once and for good (docs/journal.md)."""
        if not self.origins or origin not in self.origins:
            self.origins.append(origin)
        return origin == self.origins[-1]

    def _time_fault(self, row: JournalCheckpoint) -> tuple[Code, str] | None:
        """No signature covers `sealed_at`; the sealer never lets it fall."""
        before, self._latest = self._latest, row.sealed_at
        if before is not None and row.sealed_at < before:
            return Code.COLUMN_MISMATCH, "its time lies before that of the one before it"
        return None

    def _fault(self, row: JournalCheckpoint) -> tuple[Code, str] | None:
        try:
            signed = note.open(row.note, self._publics)
        except InvalidError as error:
            is_unknown = error.code == "journal.key_unknown" and row.key_id not in self._publics
            return Code.KEY_UNKNOWN if is_unknown else Code.SIGNATURE_INVALID, error.detail
        if not self._goes_on(signed.origin):
            return Code.SIGNATURE_INVALID, f"it goes back to the name {signed.origin}"
        if (signed.size, signed.root) != (row.tree_size, bytes(row.root)):
            return Code.ROOT_MISMATCH, "its columns are not what was signed"
        if row.key_id not in signed.signed_by:
            return Code.COLUMN_MISMATCH, "it names a key that did not sign it"
        keys = [self._ring.keys[key_id] for key_id in signed.signed_by]
        if not any(key.counts_at(row.sealed_at, row.tree_size) for key in keys):
            return Code.KEY_OUT_OF_WINDOW, f"{', '.join(signed.signed_by)} did not count any more, or not yet"
        return None
