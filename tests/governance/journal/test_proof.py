"""A proof file holds to the letter, and every text has a verdict."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from governance.journal import note, proof
from governance.journal.chain import leaf_hash
from governance.journal.merkle import inclusion_proof, root
from tests.governance.journal.test_note import FIRST, ORIGIN, SECOND
from tests.governance.journal.trees import naive_root

ENVELOPES = [b'{"n":%d,"v":1}' % number for number in range(11)]
LEAVES = [leaf_hash(envelope) for envelope in ENVELOPES]
CHECKPOINT = note.sign(ORIGIN, len(LEAVES), root(LEAVES), FIRST)


def perfect(level: int, index: int) -> bytes:
    return naive_root(LEAVES[index << level : (index + 1) << level])


def file_of(seq: int) -> str:
    path = inclusion_proof(perfect, seq, len(LEAVES))
    return proof.render(ENVELOPES[seq], seq, path, CHECKPOINT)


WHOLE = file_of(6)


def test_a_proof_names_the_event_its_number_and_the_checkpoint() -> None:
    for seq, envelope in enumerate(ENVELOPES):
        verdict = proof.check(file_of(seq), FIRST.trusted)
        assert (verdict.ok, verdict.code, verdict.seq, verdict.envelope) == (True, "ok", seq, envelope)
        assert verdict.checkpoint is not None
        assert verdict.checkpoint.size == len(LEAVES)


def test_the_file_has_the_lines_of_the_format() -> None:
    head, _, signed = WHOLE.partition("\n\n")
    lines = head.split("\n")
    assert [lines[0], lines[1][:6], lines[2]] == ["c2sp.org/tlog-proof@v1", "extra ", "index 6"]
    assert all(len(line) == 44 for line in lines[3:])
    assert signed == CHECKPOINT


def test_every_changed_or_missing_character_is_found() -> None:
    for at, was in enumerate(WHOLE):
        for instead in {"A", "b", "/", "7", "=", "\n"} - {was}:
            assert not proof.check(WHOLE[:at] + instead + WHOLE[at + 1 :], FIRST.trusted).ok, (at, instead)
        assert not proof.check(WHOLE[:at] + WHOLE[at + 1 :], FIRST.trusted).ok, at


def test_another_key_proves_nothing() -> None:
    assert proof.check(WHOLE, SECOND.trusted).code == "journal.key_unknown"
    assert proof.check(WHOLE, {}).code == "journal.key_unknown"


def test_the_proof_of_one_event_does_not_carry_another() -> None:
    other = proof.render(ENVELOPES[5], 6, (), CHECKPOINT)
    assert proof.check(other, FIRST.trusted).code == "journal.proof_invalid"
    moved = WHOLE.replace("index 6", "index 7")
    assert proof.check(moved, FIRST.trusted).code == "journal.proof_invalid"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "c2sp.org/tlog-proof@v1",
        WHOLE.replace("@v1", "@v2"),
        WHOLE.replace("extra ", "Extra "),
        WHOLE.replace("index 6", "index 06"),
        WHOLE.replace("index 6", "index -6"),
        WHOLE.replace("index 6", "index ٦"),
        WHOLE.replace("index 6", "index 6 "),
        WHOLE.replace("\n", "\r\n"),
        WHOLE.replace("index 6\n", "index 6\nAAAA\n"),
        WHOLE + "A" * proof.MAX_BYTES,
    ],
)
def test_a_file_that_is_none_is_named_so(text: str) -> None:
    assert proof.check(text, FIRST.trusted).code == "journal.proof_malformed"


def test_a_surplus_hash_or_a_checkpoint_without_signature_proves_nothing() -> None:
    surplus = WHOLE.replace("\n\n", "\n" + "A" * 43 + "=\n\n", 1)
    assert proof.check(surplus, FIRST.trusted).code == "journal.proof_invalid"
    unsigned = WHOLE.rpartition("— ")[0]
    assert proof.check(unsigned, FIRST.trusted).code == "journal.note_malformed"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="extra index0=\nAb—", max_size=80))
def test_every_text_has_a_verdict(text: str) -> None:
    for tried in (text, f"{proof.FORMAT}\n{text}", WHOLE.partition("\n\n")[0] + "\n\n" + text):
        assert proof.check(tried, FIRST.trusted).ok is False
