"""Checkpoints as signed notes: one spelling for each, and no signature but a known key's counts."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings, strategies as st

from governance.journal import note
from kernel.errors import InvalidError

ORIGIN = "palyra.example.com/log"
ROOT = bytes(range(32))


@dataclass(frozen=True)
class Key:
    private: Ed25519PrivateKey

    @classmethod
    def numbered(cls, number: int) -> Key:
        return cls(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))

    @property
    def public_key(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)

    @property
    def id(self) -> str:
        return note.key_id(self.public_key)

    @property
    def trusted(self) -> dict[str, bytes]:
        return {self.id: self.public_key}


FIRST, SECOND, WITNESS = (Key.numbered(number) for number in (1, 2, 3))
SIGNED = note.sign(ORIGIN, 1042, ROOT, FIRST)


def code_of(text: str, trusted: dict[str, bytes]) -> str:
    with pytest.raises(InvalidError) as refused:
        note.open(text, trusted)
    return refused.value.code


def with_line(text: str, name: str, data: bytes) -> str:
    return f"{text}— {name} {base64.b64encode(data).decode()}\n"


@pytest.mark.parametrize(
    "published",
    [
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_a_key_has_the_name_that_other_tools_give_it(published: str) -> None:
    name, digest, encoded = published.split("+", 2)
    key = base64.b64decode(encoded)
    assert key[:1] == note.SIGNED
    assert note.key_hash(name, key[1:]).hex() == digest
    assert note.verifier_key(name, key[1:]) == published


def test_a_note_says_what_was_signed_and_who_did() -> None:
    body, _, signature = SIGNED.partition("\n\n")
    assert body == f"{ORIGIN}\n1042\n{base64.b64encode(ROOT).decode()}"
    assert signature.startswith(f"— {ORIGIN} ")
    assert note.open(SIGNED, FIRST.trusted) == note.Checkpoint(ORIGIN, 1042, ROOT, (FIRST.id,))


def test_two_signers_leave_a_line_each_and_either_key_opens_it() -> None:
    text = note.sign(ORIGIN, 7, ROOT, FIRST, SECOND)
    assert note.open(text, FIRST.trusted | SECOND.trusted).signed_by == (FIRST.id, SECOND.id)
    assert note.open(text, SECOND.trusted).signed_by == (SECOND.id,)


def test_lines_by_others_are_ignored_and_do_not_count() -> None:
    text = with_line(SIGNED, "somebody.else", b"abcd" + bytes(64))
    text = with_line(text, ORIGIN, b"efgh" + bytes(64))
    assert note.open(text, FIRST.trusted).signed_by == (FIRST.id,)
    assert code_of(text, SECOND.trusted) == "journal.key_unknown"
    assert code_of(SIGNED, {}) == "journal.key_unknown"


def test_a_key_that_signed_under_another_name_does_not_count() -> None:
    other = note.sign("palyra.example.com/other", 1042, ROOT, FIRST)
    line = other.partition("\n\n")[2].replace("palyra.example.com/other", ORIGIN)
    assert code_of(SIGNED.partition("\n\n")[0] + "\n\n" + line, FIRST.trusted) == "journal.key_unknown"


def test_one_bad_line_by_a_known_key_spoils_the_note() -> None:
    forged = with_line(SIGNED, ORIGIN, note.key_hash(ORIGIN, SECOND.public_key) + bytes(64))
    assert code_of(forged, FIRST.trusted | SECOND.trusted) == "journal.signature_invalid"
    assert note.open(forged, FIRST.trusted).size == 1042


def test_every_changed_character_is_found() -> None:
    for at, was in enumerate(SIGNED):
        for instead in {"A", "/", "0", "\n", " "} - {was}:
            changed = SIGNED[:at] + instead + SIGNED[at + 1 :]
            assert code_of(changed, FIRST.trusted).startswith("journal."), (at, instead)
        assert code_of(SIGNED[:at] + SIGNED[at + 1 :], FIRST.trusted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        SIGNED[:-1],
        SIGNED + "\n",
        SIGNED + "\n\n",
        SIGNED.replace("\n\n", "\nextension\n\n"),
        SIGNED.replace("\n1042\n", "\n01042\n"),
        SIGNED.replace("\n1042\n", "\n+1042\n"),
        SIGNED.replace("\n1042\n", "\n-1\n"),
        SIGNED.replace("\n1042\n", "\n\u0661\n"),
        SIGNED.replace("\n1042\n", f"\n{2**63}\n"),
        SIGNED.replace("\n", "\r\n"),
        SIGNED.replace("— ", "- "),
        SIGNED.replace("— ", "—  "),
        SIGNED.replace(base64.b64encode(ROOT).decode(), base64.b64encode(ROOT[:31]).decode()),
        SIGNED.replace("=\n", "\n"),
        SIGNED + SIGNED.partition("\n\n")[2] * note.MAX_SIGNATURES,
        SIGNED + "— x " + "A" * note.MAX_BYTES + "\n",
        with_line(SIGNED, "short", b"abcd"),
    ],
)
def test_a_note_has_one_spelling(text: str) -> None:
    assert code_of(text, FIRST.trusted) == "journal.note_malformed"


def test_idle_bits_of_base64_are_refused() -> None:
    """The last character before padding carries two or four bits that mean nothing."""
    root = base64.b64encode(ROOT).decode()
    idle = root[:-2] + chr(ord(root[-2]) + 1) + "="
    assert base64.b64decode(idle) == ROOT
    assert code_of(SIGNED.replace(root, idle), FIRST.trusted) == "journal.note_malformed"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300) | st.text(alphabet="—\n +=Ab01", max_size=60))
def test_every_text_is_a_note_or_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        note.open(text, FIRST.trusted)
    assert note.is_origin(text) in (True, False)


@pytest.mark.parametrize(
    "origin", ["", " ", "a b", "a+b", "a\n", "a\x00", "a\x7f", "a\u00a0b", "\ud800", "x" * 201]
)
def test_an_origin_has_no_room_for_anything_but_a_name(origin: str) -> None:
    assert not note.is_origin(origin)
    with pytest.raises(ValueError, match="not a checkpoint"):
        note.sign(origin, 1, ROOT, FIRST)


@pytest.mark.parametrize(("size", "root"), [(-1, ROOT), (2**63, ROOT), (1, ROOT[:31]), (1, b"")])
def test_what_no_tree_has_is_not_signed(size: int, root: bytes) -> None:
    with pytest.raises(ValueError, match="not a checkpoint"):
        note.sign(ORIGIN, size, root, FIRST)


def cosigned(time: int, *, key: Key = WITNESS, name: str = "witness.example", text: str = SIGNED) -> str:
    signature = key.sign(note.cosigned_bytes(note.parse(text).body, time))
    data = note.key_hash(name, key.public_key, note.COSIGNED) + time.to_bytes(8, "big") + signature
    return with_line(text, name, data)


def test_a_witness_is_taken_by_name_key_and_time() -> None:
    text = cosigned(1_700_000_000)
    known = {"witness.example": WITNESS.public_key}
    assert note.cosignatures(text, known) == (note.Cosignature("witness.example", 1_700_000_000),)
    assert note.open(text, FIRST.trusted).signed_by == (FIRST.id,)
    for others in ({}, {"other.example": WITNESS.public_key}, {"witness.example": FIRST.public_key}):
        assert note.cosignatures(text, others) == ()
    assert note.cosignatures(cosigned(1, key=SECOND), known) == ()


def test_a_cosignature_of_another_body_or_time_does_not_hold() -> None:
    known = {"witness.example": WITNESS.public_key}
    line = cosigned(7).removeprefix(SIGNED)
    assert note.cosignatures(note.sign(ORIGIN, 1043, ROOT, FIRST) + line, known) == ()
    name, data = note.parse(cosigned(7)).signatures[-1]
    later = data[:4] + (8).to_bytes(8, "big") + data[12:]
    assert note.cosignatures(with_line(SIGNED, name, later), known) == ()
    assert note.cosignatures(with_line(SIGNED, name, data[:-1]), known) == ()
