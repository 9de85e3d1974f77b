"""Messages in folders: whoever looks while one is being written finds a whole one or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection
from kombu.exceptions import ChannelError

from palyra_site import folder_transport
from tests.racing import at_once

MESSAGES = 300


@pytest.fixture
def channels(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    places = {name: tmp_path / name for name in ("queue", "processed", "control")}
    for place in places.values():
        place.mkdir()
    options = {
        "data_folder_in": str(places["queue"]),
        "data_folder_out": str(places["queue"]),
        "processed_folder": str(places["processed"]),
        "control_folder": str(places["control"]),
        "store_processed": True,
    }
    folder_transport.use()
    with Connection("filesystem://localhost//", transport_options=options) as connection:
        writer, reader = connection.channel(), connection.channel()
        assert isinstance(writer, folder_transport.Channel)
        yield writer, reader


def test_a_message_that_is_being_written_is_not_read(channels: tuple[Any, Any]) -> None:
    writer, reader = channels
    read: list[int] = []

    def write() -> None:
        for number in range(MESSAGES):
            writer._put("sandbox", {"number": number, "filling": "x" * 50_000})

    def take() -> None:
        while len(read) < MESSAGES:
            try:
                read.append(reader._get("sandbox")["number"])
            except Empty:
                continue

    assert at_once(write, take) == ["", ""]
    assert sorted(read) == list(range(MESSAGES))


def test_queues_in_one_folder_do_not_mix(channels: tuple[Any, Any]) -> None:
    writer, reader = channels
    writer._put("jobs", {"to": "jobs"})
    with pytest.raises(Empty):
        reader._get("sandbox")
    assert reader._get("jobs") == {"to": "jobs"}


def test_a_folder_that_is_gone_is_the_broker_s_fault(channels: tuple[Any, Any], tmp_path: Path) -> None:
    writer, _ = channels
    (tmp_path / "queue").rmdir()
    with pytest.raises(ChannelError):
        writer._put("sandbox", {})
