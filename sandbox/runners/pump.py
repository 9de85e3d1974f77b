"""Keeping a bounded part of what a tool writes: the head and the tail, and a digest of everything."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass

STREAMS = ("stdout", "stderr")
_COALESCE = 4_096


@dataclass(frozen=True, slots=True)
class Kept:
    """One stream: `text` is the head, a note and the tail when `dropped` bytes lie between them.

    `sha256` (hex) covers every byte written, also the dropped ones.
    """

    text: str
    total: int
    dropped: int
    sha256: str


class Capture:
    """Takes both streams of a run as they come and keeps at most `cap` bytes of them together.

    The first half of the cap holds the head, the other the tail, in the order of arrival; how the
    stream was cut into chunks makes no difference.
    """

    def __init__(self, cap: int) -> None:
        self._head_room = cap // 2
        self._tail_cap = cap - cap // 2
        self._heads = {stream: bytearray() for stream in STREAMS}
        self._tail: deque[tuple[str, bytearray]] = deque()
        self._tail_size = 0
        self._totals = dict.fromkeys(STREAMS, 0)
        self._digests = {stream: hashlib.sha256() for stream in STREAMS}

    @property
    def total(self) -> int:
        """Bytes written so far, both streams."""
        return sum(self._totals.values())

    def feed(self, stream: str, data: bytes) -> None:
        self._totals[stream] += len(data)
        self._digests[stream].update(data)
        head = data[: self._head_room]
        self._head_room -= len(head)
        self._heads[stream] += head
        self._append(stream, data[len(head) :])

    def _append(self, stream: str, data: bytes) -> None:
        if not data:
            return
        data = data[-self._tail_cap :]
        if self._tail and self._tail[-1][0] == stream and len(self._tail[-1][1]) < _COALESCE:
            self._tail[-1][1].extend(data)
        else:
            self._tail.append((stream, bytearray(data)))
        self._tail_size += len(data)
        while self._tail_size > self._tail_cap:
            self._evict(self._tail_size - self._tail_cap)

    def _evict(self, excess: int) -> None:
        oldest = self._tail[0][1]
        if len(oldest) <= excess:
            self._tail.popleft()
            self._tail_size -= len(oldest)
        else:
            del oldest[:excess]
            self._tail_size -= excess

    def kept(self, stream: str) -> Kept:
        head = bytes(self._heads[stream])
        tail = b"".join(data for name, data in self._tail if name == stream)
        total = self._totals[stream]
        digest = self._digests[stream].hexdigest()
        if total == len(head) + len(tail):
            return Kept((head + tail).decode("utf-8", "replace"), total, 0, digest)
        head, tail = _whole_end(head), _whole_start(tail)
        dropped = total - len(head) - len(tail)
        note = f"\n[{dropped} bytes dropped]\n"
        text = head.decode("utf-8", "replace") + note + tail.decode("utf-8", "replace")
        return Kept(text, total, dropped, digest)


def _whole_end(data: bytes) -> bytes:
    """Drop a UTF-8 character that the cut left incomplete."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
        return data[:-back] if needed > back else data
    return data


def _whole_start(data: bytes) -> bytes:
    """Drop continuation bytes whose first byte was cut off."""
    skip = 0
    while skip < min(3, len(data)) and data[skip] & 0xC0 == 0x80:
        skip += 1
    return data[skip:]
