"""One event with its way to a signed checkpoint, as a file (C2SP `tlog-proof@v1`)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from governance.journal import note
from governance.journal.chain import HASH_BYTES, leaf_hash
from governance.journal.merkle import verify_inclusion
from kernel.errors import InvalidError

FORMAT = "c2sp.org/tlog-proof@v1"
MAX_BYTES = 128 * 1024
_INDEX = re.compile(r"0|[1-9][0-9]{0,18}")
_HEAD_LINES = 3


@dataclass(frozen=True, slots=True)
class ProofVerdict:
    """`code` is `ok`, `journal.proof_malformed`, `journal.proof_invalid` or what is wrong with the note."""

    ok: bool
    code: str
    seq: int | None = None
    envelope: bytes | None = None
    checkpoint: note.Checkpoint | None = None


def render(envelope: bytes, seq: int, path: Sequence[bytes], checkpoint: str) -> str:
    """Return the proof file: format, envelope, index, path from the leaf up, empty line, checkpoint."""
    lines = [FORMAT, f"extra {_encoded(envelope)}", f"index {seq}", *(_encoded(one) for one in path)]
    return "\n".join(lines) + "\n\n" + checkpoint


def check(text: str, trusted: Mapping[str, bytes]) -> ProofVerdict:
    """Judge a proof file; `trusted` maps key ids to raw public keys. Total: every text has a verdict."""
    head, separator, signed = text.partition("\n\n")
    lines = head.split("\n")
    if len(text) > MAX_BYTES or not separator or len(lines) < _HEAD_LINES or lines[0] != FORMAT:
        return _refused("journal.proof_malformed")
    extra, index = lines[1].removeprefix("extra "), lines[2].removeprefix("index ")
    if extra == lines[1] or index == lines[2] or _INDEX.fullmatch(index) is None:
        return _refused("journal.proof_malformed")
    try:
        envelope, path = _decoded(extra), [_decoded(line) for line in lines[_HEAD_LINES:]]
    except ValueError:
        return _refused("journal.proof_malformed")
    if any(len(one) != HASH_BYTES for one in path):
        return _refused("journal.proof_malformed")
    try:
        checkpoint = note.open(signed, trusted)
    except InvalidError as error:
        return _refused(error.code)
    if not verify_inclusion(leaf_hash(envelope), int(index), checkpoint.size, path, checkpoint.root):
        return _refused("journal.proof_invalid")
    return ProofVerdict(True, "ok", int(index), envelope, checkpoint)


def _refused(code: str) -> ProofVerdict:
    return ProofVerdict(False, code)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    """Standard base64, only in its one canonical spelling; ValueError for everything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if _encoded(data) != text:
        raise ValueError("not canonical base64")
    return data
