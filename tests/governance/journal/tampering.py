"""Changing what must not be changed: guards are lifted, a row is altered, the guards stand again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, models, transaction
from django.db.backends.utils import CursorWrapper

from governance.journal.findings import Report
from governance.journal.guards import GUARDED
from governance.journal.models import JournalEvent, JournalPayload
from governance.journal.verify import Options, Verification
from tests.governance.journal.writing import NOW


@contextmanager
def guards_lifted() -> Iterator[None]:
    """Let every journal table be changed for a while, as whoever owns the database can."""
    on_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if on_postgresql:
            cursor.execute("SET LOCAL session_replication_role = replica")
        else:
            _each(cursor, [one for guard in GUARDED for one in guard.drop(connection.vendor)])
        yield
        if on_postgresql:
            cursor.execute("SET LOCAL session_replication_role = origin")
        else:
            _each(cursor, [one for guard in GUARDED for one in guard.create(connection.vendor)])


def _each(cursor: CursorWrapper, statements: list[str]) -> None:
    for statement in statements:
        cursor.execute(statement)


def set_columns(model: type[models.Model], pk: object, **changes: Any) -> None:
    """Change columns of one row behind the guards."""
    with guards_lifted():
        assert model._base_manager.filter(pk=pk).update(**changes) == 1


def remove(rows: models.QuerySet[Any]) -> None:
    """Delete rows behind the guards, without what Django would delete with them."""
    with guards_lifted():
        assert rows._raw_delete(rows.db)


def remove_event(event_id: str) -> None:
    """Delete an event and its payload behind the guards."""
    remove(JournalPayload.objects.filter(pk=event_id))
    remove(JournalEvent.objects.filter(pk=event_id))


def flipped(data: Any, at: int = 0) -> bytes:
    """Return the bytes with one bit changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def verified(options: Options | None = None) -> Report:
    """Verify at the time of the world."""
    return Verification(options or Options(), NOW).run()


def report_after(tamper: Callable[[], object], options: Options | None = None) -> Report:
    """Tamper, verify and undo."""
    with transaction.atomic():
        tamper()
        report = verified(options)
        transaction.set_rollback(True)
    return report


def found_after(tamper: Callable[[], object], options: Options | None = None) -> set[tuple[str, int | None]]:
    """Tamper, verify, undo; return code and seq of every finding that is not only worth saying."""
    report = report_after(tamper, options)
    assert report.findings == len(report.first), "more than a report keeps"
    return {(one.code.value, one.seq) for one in report.first}
