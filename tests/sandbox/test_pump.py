from __future__ import annotations

import hashlib

from hypothesis import given, strategies as st

from sandbox.runners.pump import STREAMS, Capture

WRITES = st.lists(st.tuples(st.sampled_from(STREAMS), st.binary(max_size=60)), max_size=12)


def _fed(writes: list[tuple[str, bytes]], cap: int) -> Capture:
    capture = Capture(cap)
    for stream, data in writes:
        capture.feed(stream, data)
    return capture


@given(writes=WRITES, cap=st.integers(2, 80), data=st.data())
def test_chunking_makes_no_difference(writes: list[tuple[str, bytes]], cap: int, data: st.DataObject) -> None:
    pieces = []
    for stream, content in writes:
        at = data.draw(st.integers(0, len(content)))
        pieces += [(stream, content[:at]), (stream, content[at:])]
    singles = [(stream, bytes([byte])) for stream, content in writes for byte in content]

    whole, split, bytewise = (_fed(parts, cap) for parts in (writes, pieces, singles))

    for stream in STREAMS:
        assert whole.kept(stream) == split.kept(stream) == bytewise.kept(stream)


@given(writes=WRITES, cap=st.integers(2, 80))
def test_nothing_is_lost_unseen(writes: list[tuple[str, bytes]], cap: int) -> None:
    capture = _fed(writes, cap)
    for stream in STREAMS:
        written = b"".join(data for name, data in writes if name == stream)
        kept = capture.kept(stream)
        assert kept.total == len(written)
        assert kept.sha256 == hashlib.sha256(written).hexdigest()
        if kept.dropped == 0:
            assert kept.text == written.decode("utf-8", "replace")
        else:
            assert capture.total > cap
            assert f"[{kept.dropped} bytes dropped]" in kept.text


def test_head_and_tail_share_the_cap() -> None:
    capture = _fed([("stdout", b"a" * 10), ("stderr", b"b" * 10), ("stdout", b"c" * 10)], 20)

    assert capture.kept("stdout").text == "a" * 10 + "c" * 10
    assert capture.kept("stderr").dropped == 10


def test_a_cut_falls_between_characters() -> None:
    kept = _fed([("stdout", "é€😀".encode() * 20)], 21).kept("stdout")

    assert "\ufffd" not in kept.text
    assert kept.dropped > 180 - 21


def test_memory_stays_below_twice_the_cap() -> None:
    capture = Capture(1_000)
    for _ in range(2_000):
        capture.feed("stdout", b"x")
        capture.feed("stderr", b"y" * 700)

    held = sum(len(data) for data in capture._heads.values()) + sum(len(data) for _, data in capture._tail)
    assert held == 1_000
