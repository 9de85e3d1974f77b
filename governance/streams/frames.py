"""One event as it travels: a Server-Sent Event, or a line of NDJSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from governance.streams.names import StreamName

OPENING = b"retry: 2000\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """`key` is what a reader resumes with: the event's number in its run, or its `evt_…` id."""

    key: str
    name: StreamName
    body: Mapping[str, object]

    def as_event(self) -> bytes:
        """Return the frame of an event stream. JSON in ASCII holds no line break."""
        return f"id: {self.key}\nevent: {self.name.value}\ndata: {self._json()}\n\n".encode("ascii")

    def as_line(self) -> bytes:
        return f"{self._json()}\n".encode("ascii")

    def _json(self) -> str:
        return json.dumps(self.body, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
