"""A witness's line is kept under a checkpoint when, and only when, that witness signed it."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import DatabaseError, transaction
from pytest_django.fixtures import Settings

from governance.journal import note, witnesses
from governance.journal.models import JournalCheckpoint, JournalCosignature
from governance.journal.proving import served_note
from governance.journal.sealing import seal
from governance.journal.witness_keys import Witness, parse, verifier_key
from kernel.errors import ConflictError, InvalidError, NotFoundError, PalyraError
from tests.governance.journal.writing import NOW, write

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS = Witness("witness.example/one", PRIVATE.public_key().public_bytes_raw())
VKEY = verifier_key(WITNESS)
STAMP = int(NOW.timestamp())


@pytest.fixture
def checkpoint(ready: None, settings: Settings) -> JournalCheckpoint:
    settings.PALYRA_JOURNAL_WITNESSES = (VKEY,)
    write()
    made = seal(now=NOW)
    assert made is not None
    return made


def cosigned(checkpoint: JournalCheckpoint, *, by: Ed25519PrivateKey = PRIVATE, name: str = "") -> str:
    """Return the line that a witness would add to this checkpoint."""
    body = checkpoint.note.partition("\n\n")[0].encode() + b"\n"
    signature = by.sign(note.cosigned_bytes(body, STAMP))
    hashed = note.key_hash(name or WITNESS.name, by.public_key().public_bytes_raw(), note.COSIGNED)
    data = base64.b64encode(hashed + STAMP.to_bytes(8, "big") + signature).decode()
    return f"— {name or WITNESS.name} {data}"


def refusal(size: int, line: str, kind: type[PalyraError]) -> str:
    with pytest.raises(kind) as caught:
        witnesses.add(size=size, line=line)
    return caught.value.code


def test_a_line_that_holds_is_served_under_the_checkpoint(checkpoint: JournalCheckpoint) -> None:
    witnesses.add(size=checkpoint.tree_size, line=cosigned(checkpoint) + "\n")
    served = served_note(checkpoint)
    (seen,) = note.cosignatures(served, witnesses.keys())
    assert (seen.witness, seen.time) == (WITNESS.name, STAMP)
    assert (
        note.open(served, {checkpoint.key_id: bytes(checkpoint.key.public_key)}).size == checkpoint.tree_size
    )


def test_a_witness_is_kept_once(checkpoint: JournalCheckpoint) -> None:
    witnesses.add(size=checkpoint.tree_size, line=cosigned(checkpoint))
    assert refusal(checkpoint.tree_size, cosigned(checkpoint), ConflictError) == "conflict"
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        JournalCosignature.objects.update(line="x")


def test_another_key_name_or_checkpoint_is_refused(checkpoint: JournalCheckpoint) -> None:
    stranger = Ed25519PrivateKey.generate()
    line, size = cosigned(checkpoint), checkpoint.tree_size
    write()
    later = seal(now=NOW)
    assert later is not None
    for bad in (cosigned(checkpoint, by=stranger), cosigned(checkpoint, name="x.example"), cosigned(later)):
        assert refusal(size, bad, InvalidError) == "journal.signature_invalid"
    assert refusal(later.tree_size, line, InvalidError) == "journal.signature_invalid"
    assert refusal(10_000, line, NotFoundError) == "not_found"
    assert not JournalCosignature.objects.exists()


@pytest.mark.parametrize(
    "line", ["", "x", "— a", "— a b c", "— witness.example/one !!!!", "— a YQ==\n— b YQ=="]
)
def test_what_is_no_line_of_a_note_is_refused(checkpoint: JournalCheckpoint, line: str) -> None:
    assert refusal(checkpoint.tree_size, line, InvalidError) == "journal.note_malformed"


def test_the_log_s_own_signature_is_no_witness(checkpoint: JournalCheckpoint) -> None:
    own = checkpoint.note.partition("\n\n")[2]
    assert refusal(checkpoint.tree_size, own, InvalidError) == "journal.signature_invalid"


def test_a_witness_is_configured_by_its_key_and_perhaps_an_address() -> None:
    assert parse(VKEY) == WITNESS
    assert parse(f" {VKEY}@https://witness.example/a@b ").url == "https://witness.example/a@b"


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "name",
        "name+00000000",
        VKEY[:-4],
        VKEY.replace("one", "two"),
        VKEY + "@http://witness.example",
        note.verifier_key(WITNESS.name, WITNESS.public_key),
        VKEY.replace("witness", "wit ness"),
    ],
)
def test_what_is_no_witness_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="witness"):
        parse(entry)


def test_one_name_stands_for_one_witness(settings: Settings) -> None:
    settings.PALYRA_JOURNAL_WITNESSES = (VKEY, VKEY)
    with pytest.raises(ValueError, match="one name"):
        witnesses.configured()
