"""Celery's transport over folders, with messages that appear whole.

The library makes the file first and writes into it then. A worker that looks in between reads nothing,
and ends at the attempt to understand it.
"""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(  # type: ignore[override]  # its two bases disagree about the name
        self, queue: str, payload: dict[str, Any], **kwargs: Any
    ) -> None:
        """Write the message beside the queue and rename it into it. ChannelError when that fails."""
        name = f"{round(monotonic() * 1000)}_{uuid4()}.{queue}"
        part = Path(self.data_folder_out, f"{name}.part")
        try:
            part.write_text(dumps(payload), encoding="utf-8")
            part.rename(part.with_suffix(".msg"))
        except OSError as error:
            raise ChannelError(f"Cannot add a message to {self.data_folder_out}") from error


class Transport(filesystem.Transport):
    Channel = Channel


def use() -> None:
    """Have `filesystem://` mean this transport."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
