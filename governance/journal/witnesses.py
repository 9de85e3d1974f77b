"""Witnesses of the log and their lines under its checkpoints."""

from __future__ import annotations

from django.conf import settings
from django.db import IntegrityError, transaction

from governance.journal import note
from governance.journal.models import JournalCheckpoint, JournalCosignature
from governance.journal.witness_keys import Witness, parse
from kernel.errors import ConflictError, InvalidError, NotFoundError

LONGEST_LINE = 512
MOST = 16
"""Lines kept for one checkpoint: its note has room for 32 signatures."""


def configured() -> tuple[Witness, ...]:
    """Return the witnesses of the settings; ValueError when one is not a witness or is named twice."""
    found = tuple(parse(entry) for entry in settings.PALYRA_JOURNAL_WITNESSES)
    if len({one.name for one in found}) != len(found):
        raise ValueError("two witnesses have one name")
    return found


def keys() -> dict[str, bytes]:
    """Return the public keys of the configured witnesses by name."""
    return {one.name: one.public_key for one in configured()}


def add(*, size: int, line: str) -> JournalCosignature:
    """Keep a cosignature line of a configured witness under the checkpoint of this size.

    NotFoundError for a size that was never sealed, InvalidError `journal.note_malformed` for what is no
    such line, `journal.signature_invalid` when no configured witness signed this checkpoint with it,
    ConflictError `conflict` when the witness's line is there already.
    """
    row = JournalCheckpoint.objects.filter(pk=size).first()
    if row is None:
        raise NotFoundError("not_found", "There is no checkpoint of this size.")
    text = line.rstrip("\n")
    if "\n" in text or len(text) > LONGEST_LINE:
        raise InvalidError("journal.note_malformed", "A cosignature is one line.")
    alone = row.note.partition("\n\n")[0] + "\n\n" + text + "\n"
    seen = note.cosignatures(alone, keys())
    if not seen:
        raise InvalidError("journal.signature_invalid", "No configured witness signed this checkpoint.")
    if JournalCosignature.objects.filter(checkpoint=row).count() >= MOST:
        raise ConflictError("conflict", "The checkpoint has as many cosignatures as a note can hold.")
    try:
        with transaction.atomic():
            return JournalCosignature.objects.create(checkpoint=row, witness=seen[0].witness, line=text)
    except IntegrityError as error:
        raise ConflictError("conflict", "This witness's cosignature is there already.") from error
