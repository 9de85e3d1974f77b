"""An export that goes on: the lines of sealed events in the order of their numbers, as they are sealed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from governance.journal.export import Export, Wanted
from governance.journal.lookup import sealed_size
from governance.streams.frames import Frame
from governance.streams.journal import TOPIC
from governance.streams.names import StreamName
from governance.streams.sources import Batch

Standing = bool
"""Whether the reader may open data by now."""


class ExportSource:
    """The lines of `wanted` from its first number on, and then what is sealed later; there is no trailer.

    Leaves that cannot be told are named by a frame of their own. `ask` returns whether data may be told,
    or raises when the reader may take nothing any more.
    """

    def __init__(self, wanted: Wanted, *, credential_id: str, ask: Callable[[], Standing]) -> None:
        self.topic = TOPIC
        self.key = f"{credential_id} {TOPIC} export"
        self.position = wanted.first
        self._wanted = wanted
        self._reveals = wanted.reveals
        self._ask = ask

    def ask(self) -> Standing:
        return self._ask()

    def admit(self, standing: Standing) -> None:
        """Data that was withheld when the taking was recorded stays so."""
        self._reveals = standing and self._wanted.reveals

    def read(self) -> Batch:
        """Return the next lines. The size is looked at first: up to there everything is sealed by now."""
        size = sealed_size()
        if self.position >= size:
            return Batch(())
        export = Export(replace(self._wanted, first=self.position, end=size, reveals=self._reveals))
        lines = [(seq, json.loads(line)) for seq, line in export.batch()]
        named = [(one["end_seq"] - 1, one) for one in export.gaps()]
        self.position = export.position
        told = sorted((*lines, *named), key=lambda one: one[0])
        frames = tuple(Frame(str(seq), StreamName.JOURNAL, body) for seq, body in told)
        return Batch(frames, more=self.position < size)
