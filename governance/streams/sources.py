"""What a stream reads from: batches of frames in the order of their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from governance.streams.frames import Frame


@dataclass(frozen=True, slots=True)
class Batch:
    """`more`: the next batch can be read at once; `over`: nothing will ever follow."""

    frames: tuple[Frame, ...]
    more: bool = False
    over: bool = False


class Source(Protocol):
    """The events of one stream, read with what its reader holds; both verbs use the database.

    `topic` names what is watched for news; `position` counts what has been read of it.
    """

    topic: str
    position: int

    def read(self) -> Batch:
        """Return what is committed and was not read yet, and move on behind it."""

    def admit(self) -> None:
        """Ask again whether the reader may read; raises PalyraError when not."""
