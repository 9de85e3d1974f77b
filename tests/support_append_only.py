"""Lets tests that commit empty the append-only tables afterwards, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import TransactionTestCase

_POSTGRESQL = """
SELECT t.tgname, c.relname, pg_get_triggerdef(t.oid) FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND p.proname LIKE 'palyra_append_only%'
"""
_SQLITE = """
SELECT name, tbl_name, sql FROM sqlite_master
WHERE type = 'trigger' AND (sql LIKE '%append-only%' OR sql LIKE '%''immutable: %')
"""


@contextmanager
def guards_lifted() -> Iterator[None]:
    """Drop every append-only trigger and put each back as it was."""
    on_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute(_POSTGRESQL if on_postgresql else _SQLITE)
        triggers = cursor.fetchall()
        for name, table, _ in triggers:
            cursor.execute(f'DROP TRIGGER "{name}"' + (f' ON "{table}"' if on_postgresql else ""))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for _, _, definition in triggers:
                cursor.execute(definition)


@pytest.fixture(scope="session", autouse=True)
def flush_without_guards() -> Iterator[None]:
    """Wrap Django's emptying of tables after a test that committed."""
    original = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]  # not in the stubs

    def teardown(case: TransactionTestCase) -> None:
        with guards_lifted():
            original(case)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", teardown)
        yield
