"""A log of one's own, made of the pure functions alone: exports and proofs without a server."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.journal import envelope, note, proof
from governance.journal.chain import START, leaf_hash, link
from governance.journal.export_lines import FORMAT, TRAILER, Line, compact, encoded, write
from governance.journal.merkle import inclusion_proof, root, tile_root
from kernel.canonical import canonical, digest_bytes
from kernel.ids import new_id
from kernel.record import Actor

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ORIGIN = "palyra.local/ins_test"


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that lies open, as no real one does."""

    secret: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)

    @property
    def public_key(self) -> bytes:
        return self.secret.public_key().public_bytes_raw()

    @property
    def sign(self) -> Callable[[bytes], bytes]:
        return self.secret.sign

    def shown(self) -> str:
        return base64.b64encode(self.public_key).decode()

    def pem(self) -> str:
        der = bytes.fromhex("302a300506032b6570032100") + self.public_key
        return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"


@dataclass(frozen=True, slots=True)
class Log:
    """`count` sealed events with their data, signed by `signer`."""

    lines: tuple[Line, ...]
    signer: Signer
    checkpoint: str

    @classmethod
    def of(cls, count: int, signer: Signer | None = None) -> Log:
        by = signer or Signer()
        lines = tuple(_line(seq) for seq in range(count))
        top = root(line.leaf_hash for line in lines)
        return cls(lines, by, note.sign(ORIGIN, count, top, by))

    def export(self) -> bytes:
        chain = START
        for line in self.lines:
            chain = link(chain, line.leaf_hash)
        size = len(self.lines)
        trailer = {
            "object": TRAILER, "format": FORMAT, "first_seq": 0, "end_seq": size, "count": size,
            "tree_size": size, "absent": [], "chain_hash": encoded(chain), "data": "revealed", "erased": 0,
            "unreadable": 0, "checkpoint": self.checkpoint, "keys": [],
        }  # fmt: skip
        return b"".join(map(write, self.lines)) + compact(trailer) + b"\n"

    def proof(self, seq: int) -> str:
        def read_hash(level: int, index: int) -> bytes:
            return tile_root(
                b"".join(line.leaf_hash for line in self.lines[index << level : (index + 1) << level])
            )

        path = inclusion_proof(read_hash, seq, len(self.lines))
        return proof.render(self.lines[seq].envelope, seq, path, self.checkpoint)


def _line(seq: int) -> Line:
    data = {"reason": f"number {seq}"}
    salt = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    header = envelope.Header(
        id=new_id("evt", NOW),
        type="run.closed",
        time=NOW,
        instance="ins_test",
        actor=Actor(kind="agent", id="agt_1", auth="token", surface="api"),
        subject=f"call_{seq}",
        data_digest=digest_bytes(canonical({"salt": salt, "data": data})),
        redactions=0,
    )
    stored = envelope.build(header)
    return Line(seq, stored, leaf_hash(stored), data, salt)
