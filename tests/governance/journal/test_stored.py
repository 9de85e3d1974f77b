"""What a stored event holds: no secret, no more than the bounds allow, and nothing in clear."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection

from governance.journal import envelope, ledger
from governance.journal.models import JournalEvent, JournalPayload
from governance.journal.reading import open_data
from kernel.canonical import canonical
from tests.governance.journal.writing import open_run, propose, write

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]


def redactions(event: JournalEvent) -> int:
    return int(str(envelope.parse(bytes(event.envelope))["redactions"]))


SECRET = "hunter2-hunter2-hunter2"
TOKEN = "plr_agt_" + "aB3dE6gH9jK2" + "_" + "x7" * 24 + "q"


@pytest.mark.parametrize(
    ("content", "left"),
    [
        ({"prompt_tokens": 812, "max_tokens": 4096}, {"prompt_tokens": 812, "max_tokens": 4096}),
        ({"password": SECRET}, {"password": {"_redacted": "key"}}),
        (f"use {TOKEN} now", "use [redacted:palyra_token] now"),
        ({"body": f'{{"password":"{SECRET}"}}'}, {"body": '{"password":{"_redacted":"key"}}'}),
        (float("nan"), "nan"),
        (2**60, str(2**60)),
        ("\ud800", "\ufffd"),
        (b"\xff\xfe", {"_binary": True, "bytes": 2}),
    ],
    ids=["counts", "key", "token", "JSON in a string", "NaN", "2^60", "surrogate", "bytes"],
)
def test_what_is_stored_is_redacted_and_expressible(content: object, left: object) -> None:
    event = propose(content)
    assert open_data(event)["input"] == left
    assert redactions(event) == int(content != left)


def deep(levels: int) -> object:
    value: object = "bottom"
    for _ in range(levels):
        value = {"down": value}
    return value


@pytest.mark.parametrize(
    "content",
    [
        "x" * (10 * 1024 * 1024),
        {f"key {number}": number for number in range(10_000)},
        list(range(10_000)),
        {"k" * 100_000: 1},
        deep(500),
        [["é" * 2000] * 150] * 150,
        {str(number): "y" * 5000 for number in range(190)},
        "\0" * 5000,
    ],
    ids=["10 MiB", "keys", "items", "name", "depth 500", "nested lists", "many texts", "NUL"],
)
def test_no_event_is_refused_for_its_size_and_none_is_stored_large(content: object) -> None:
    event = propose(content)
    stored = open_data(event)
    assert len(canonical(stored)) <= 64 * 1024
    assert len(JournalPayload.objects.get(event=event).ciphertext) <= 96 * 1024
    assert redactions(event) > 0
    assert len(bytes(event.envelope)) <= 4096


@pytest.mark.django_db(transaction=True)
def test_the_database_holds_the_data_in_no_readable_form() -> None:
    marker = "Marker7f3a of a person"
    event = propose({"text": marker, "nested": [marker]}, run=open_run().id)
    assert open_data(event)["input"]["text"] == marker
    assert marker.encode() not in everything_stored()
    assert event.id.encode() in everything_stored()


def everything_stored() -> bytes:
    """Return every byte of the database file and its log, or of every column on PostgreSQL."""
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        files = (Path(name), Path(f"{name}-wal"))
        return b"".join(path.read_bytes() for path in files if path.exists())
    rows = (row for model in apps.get_models() for row in model._base_manager.values_list())
    return b"".join(_plain(value) for row in rows for value in row)


def _plain(value: object) -> bytes:
    return bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()


def test_key_material_shows_in_no_repr() -> None:
    event = write()
    row = JournalPayload.objects.select_related("key").get(event=event)
    wrapped = bytes(row.key.wrapped_key or b"")
    shown = repr(row) + repr(row.key) + str(row) + str(row.key) + repr(ledger._Plain(b"secret plain", 0))
    assert "secret plain" not in shown
    assert wrapped.hex() not in shown
    assert repr(wrapped) not in shown
