"""Many events at once: bulk inserts of rows that are built with the functions of the product."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from datetime import timedelta

from django.db import transaction

from governance.journal import envelope
from governance.journal.ledger import instance_id, key_context, payload_context
from governance.journal.models import JournalEvent, JournalPayload, JournalPending, JournalSubjectKey
from governance.models import Run
from kernel.canonical import canonical, digest_bytes
from kernel.ids import new_id
from tests.governance.journal.writing import AGENT, CALL, NOW, open_run, write
from vault import services as vault
from vault.envelope import seal
from vault.types import WrappedKey

BATCH = 500


def fill(count: int, *, run: Run | None = None) -> Run:
    """Add `count` events of one run that wait to be sealed, as `record` would leave them; return the run."""
    run = run or open_run()
    write(run=run.pk)
    key = JournalSubjectKey.objects.get(subject=run.pk)
    wrapped = WrappedKey(key.kek_id, bytes(key.wrapped_key or b""))
    secret = vault.unwrap_data_key(wrapped, aad=key_context(run.pk, key.pk))
    first = int(Run.objects.values_list("event_seq", flat=True).get(pk=run.pk)) + 1
    with transaction.atomic():
        for start in range(first, first + count - 1, BATCH):
            numbers = range(start, min(start + BATCH, first + count - 1))
            _insert([_row(run, number, key.pk, secret) for number in numbers])
        Run.objects.filter(pk=run.pk).update(event_seq=first + count - 2)
    return run


def _insert(rows: list[tuple[JournalEvent, JournalPayload]]) -> None:
    JournalEvent.objects.bulk_create([event for event, _ in rows])
    JournalPayload.objects.bulk_create([payload for _, payload in rows])
    JournalPending.objects.bulk_create([JournalPending(event=event) for event, _ in rows])


def _row(run: Run, number: int, key_id: str, secret: bytes) -> tuple[JournalEvent, JournalPayload]:
    now = NOW + timedelta(milliseconds=number)
    salt = urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    data = {"state": "completed", "close_code": "done", "reason": ""}
    plain = canonical({"salt": salt, "data": data})
    header = envelope.Header(
        id=new_id("evt", now),
        type="run.closed",
        time=now,
        instance=instance_id(now),
        actor=AGENT,
        subject=CALL,
        data_digest=digest_bytes(plain),
        redactions=0,
        run=run.pk,
        run_seq=number,
    )
    event = JournalEvent(
        id=header.id,
        envelope=envelope.build(header),
        type=header.type,
        time=now,
        actor=AGENT.id,
        subject=CALL,
        run_id=run.pk,
        run_seq=number,
    )
    sealed = seal(plain, key=secret, context=payload_context(header.id, key_id))
    payload = JournalPayload(event=event, key_id=key_id, nonce=sealed.nonce, ciphertext=sealed.ciphertext)
    return event, payload
