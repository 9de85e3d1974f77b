"""What a stream reads from: batches of frames in the order of their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from governance.streams.frames import Frame


@dataclass(frozen=True, slots=True)
class Batch:
    """`more`: the next batch can be read at once; `over`: nothing will ever follow."""

    frames: tuple[Frame, ...]
    more: bool = False
    over: bool = False


class Source(Protocol):
    """The events of one stream, read with what its reader holds; both verbs use the database.

    `topic` names what is watched for news; `position` counts what has been read of it. Streams of one
    `key` belong to the same credential and show the same, so they are asked about together.
    """

    topic: str
    key: str
    position: int

    def read(self) -> Batch:
        """Return what is committed and was not read yet, and move on behind it."""

    def ask(self) -> Any:
        """Return what the reader holds by now; raises PalyraError when they may not read any more."""

    def admit(self, standing: Any) -> None:
        """Go on with what `ask` returned, to this stream or to another one of its key."""
