"""The tail of the journal: sealed events only, each once, in the order of their numbers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from governance.journal.lookup import EventFilter
from governance.journal.models import JournalCheckpoint, JournalLeaf, JournalPending
from governance.journal.sealer_lock import hold_sealer_lock
from governance.journal.sealing import seal
from governance.streams import hub, sending
from governance.streams.journal import JournalSource, start_after
from identity.roles import Permission, WorkspaceRole
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.clock import utc_now
from kernel.errors import GoneError, RefusedError
from tests.governance.journal.writing import write
from tests.governance.streams.test_live import elsewhere, within
from tests.racing import at_once
from vault import services as vault

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS, EACH = 20, 5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(hub, "ADMIT_SECONDS", 0.02)
    vault.ensure_ready(now=utc_now())


def auditor() -> Principal:
    """An auditor of the whole installation with a fresh code."""
    now = utc_now()
    roles = frozenset({WorkspaceRole.OWNER})
    return Principal(
        kind=PrincipalKind.USER,
        id="usr_01J00000000000000000000009",
        owner_id="usr_01J00000000000000000000009",
        workspace_id="wsp_1",
        roles=roles,
        permissions=frozenset(Permission),
        auth_strength=AuthStrength.FRESH_MFA,
        client_ip="127.0.0.1",
        request_id="req_test",
        authenticated_at=now,
        token_id="tok_1",
        instance_roles=roles,
    )


def source_of(
    principal: Principal,
    *,
    after: int | None = None,
    chosen: EventFilter | None = None,
    withheld: str | None = "role_required",
) -> JournalSource:
    return JournalSource(
        principal=principal,
        start=start_after(after),
        chosen=chosen or EventFilter(),
        withheld=withheld,
        clock=utc_now,
        ask=lambda: principal,
    )


def seal_some(limit: int = 5_000) -> None:
    """Seal as the sealer does, without its log of checkpoints."""
    with transaction.atomic(durable=True):
        if hold_sealer_lock(wait=False):
            seal(now=utc_now(), limit=limit)


def seal_until(done: threading.Event) -> None:
    while not done.is_set() or JournalPending.objects.exists():
        seal_some(limit=7)


def write_some(writer: int) -> None:
    for number in range(EACH):
        write(subject=f"{writer}/{number}")


def write_all_at_once() -> None:
    """Twenty writers while a sealer runs, as threads with connections of their own."""
    done = threading.Event()

    def sealer() -> None:
        try:
            seal_until(done)
        finally:
            connection.close()

    thread = threading.Thread(target=sealer)
    thread.start()
    try:
        codes = at_once(*(partial(write_some, writer) for writer in range(WRITERS)))
    finally:
        done.set()
        thread.join()
    assert codes == [""] * WRITERS


def bodies(part: bytes) -> list[dict[str, Any]]:
    lines = part.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def take_until(stream: AsyncIterator[bytes], wanted: set[str]) -> list[dict[str, Any]]:
    """Read until all these subjects were met."""
    found: list[dict[str, Any]] = []
    while not wanted <= {event["subject"] for event in found}:
        found += bodies(await anext(stream))
    return found


def test_twenty_writers_and_a_sealer_are_read_once_in_order_also_by_who_resumes() -> None:
    wanted = {f"{writer}/{number}" for writer in range(WRITERS) for number in range(EACH)}

    async def story() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        steady = sending.events(await elsewhere(lambda: source_of(auditor())), "usr_1")
        broken = sending.events(await elsewhere(lambda: source_of(auditor())), "usr_2")
        writing = asyncio.create_task(elsewhere(write_all_at_once))
        first: list[dict[str, Any]] = []
        while len(first) < 30:
            first += bodies(await anext(broken))
        await broken.aclose()  # type: ignore[attr-defined]  # an async generator
        last = first[-1]["seq"]
        resumed = sending.events(await elsewhere(lambda: source_of(auditor(), after=last)), "usr_2")
        met = {event["subject"] for event in first}
        rest = await take_until(resumed, wanted - met)
        whole = await take_until(steady, wanted)
        await writing
        for stream in (steady, resumed):
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        return whole, first + rest

    whole, pieces = within(60, story())
    for events in (whole, pieces):
        assert [event["seq"] for event in events] == list(range(len(events)))
        told = [event["subject"] for event in events if event["subject"] in wanted]
        assert sorted(told) == sorted(wanted)
        for writer in range(WRITERS):
            own = [subject for subject in told if subject.startswith(f"{writer}/")]
            assert own == [f"{writer}/{number}" for number in range(EACH)]
    assert [event["id"] for event in pieces] == [event["id"] for event in whole][: len(pieces)]
    assert JournalCheckpoint.objects.count() > 1


def test_what_waits_is_not_told_until_it_is_sealed() -> None:
    first, second = write(subject="first"), write(subject="second")
    seal_some(limit=1)
    source = source_of(auditor())
    told = [frame.body["id"] for frame in source.read().frames]
    assert second.pk not in told
    assert source.read().frames == ()
    seal_some()
    told += [frame.body["id"] for frame in source.read().frames]
    leaves = JournalLeaf.objects.order_by("seq").values_list("event_id", flat=True)
    assert told == list(leaves)
    assert {first.pk, second.pk} <= set(told)


def test_a_filter_leaves_numbers_out_and_moves_on() -> None:
    for subject in ("a", "b", "a"):
        write(subject=subject)
    seal_some()
    source = source_of(auditor(), chosen=EventFilter(subjects=("a",)))
    assert [frame.body["subject"] for frame in source.read().frames] == ["a", "a"]
    assert source.position == JournalLeaf.objects.count()
    write(subject="b")
    write(subject="a")
    seal_some()
    assert [frame.body["subject"] for frame in source.read().frames] == ["a"]


def test_payloads_are_told_only_while_the_reader_may_open_them() -> None:
    write(subject="x", state="completed", close_code="done", reason="because")
    seal_some()
    revealing = auditor()
    weak = replace(revealing, auth_strength=AuthStrength.MFA)
    only = EventFilter(subjects=("x",))

    def told(principal: Principal, withheld: str | None) -> tuple[object, object]:
        (frame,) = source_of(principal, chosen=only, withheld=withheld).read().frames
        return frame.body["data"], frame.body["withheld"]

    data = {"state": "completed", "close_code": "done", "reason": "because"}
    assert told(revealing, None) == (data, None)
    assert told(revealing, "role_required") == (None, "role_required")
    assert told(weak, None) == (None, "step_up_required")


def test_who_lost_the_permission_is_told_nothing_more() -> None:
    write(subject="x")
    seal_some()
    source = source_of(auditor())
    source.admit(replace(auditor(), instance_roles=frozenset(), roles=frozenset()))
    assert source.read().frames == ()


def test_a_revoked_credential_ends_the_tail() -> None:
    write(subject="x")
    seal_some()
    revoked, principal, size = threading.Event(), auditor(), JournalLeaf.objects.count()

    def ask() -> Principal:
        if revoked.is_set():
            raise RefusedError
        return principal

    async def story() -> list[bytes]:
        source = JournalSource(
            principal=principal, start=0, chosen=EventFilter(), withheld="x", clock=utc_now, ask=ask
        )
        stream = sending.events(source, principal.id)
        found: list[dict[str, Any]] = []
        while len(found) < size:
            found += bodies(await anext(stream))
        revoked.set()
        return [part async for part in stream]

    assert within(10, story()) == []


def test_one_cannot_go_on_behind_the_end_of_the_log() -> None:
    write()
    seal_some()
    size = JournalLeaf.objects.count()
    assert (start_after(None), start_after(-1), start_after(size - 1)) == (0, 0, size)
    with pytest.raises(GoneError):
        start_after(size)
