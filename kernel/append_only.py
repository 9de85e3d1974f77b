"""Triggers that keep a table's rows as they were written, on both databases.

Every statement is meant for a migration. The product never drops one; a test that flushes tables does,
in a fixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

_FUNCTION = "palyra_append_only"
_ROWS, _TRUNCATE = 1 | 2 | 8 | 16, 2 | 32
"""`tgtype` of PostgreSQL: for each row before DELETE or UPDATE, and before TRUNCATE."""

_REPLACES = 'WHEN EXISTS (SELECT 1 FROM "{table}" WHERE {same})'


@dataclass(frozen=True, slots=True)
class AppendOnly:
    """A table whose rows may be added and read. `keys` are its unique column tuples, primary key first.

    SQLite needs the keys: `INSERT OR REPLACE` removes the old row without firing a delete trigger.
    `deletable` is a condition in SQL over OLD, the same for both databases; without one no row goes.
    `erasable` names columns that may be emptied, each with the literal that stands for empty; an update
    that does anything else fails. `others` are then all other columns.
    """

    table: str
    keys: tuple[tuple[str, ...], ...]
    deletable: str = ""
    erasable: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()

    def names(self, vendor: str) -> tuple[str, ...]:
        """Return the names of the triggers that must exist."""
        kinds = ("rows", "truncate") if vendor == "postgresql" else ("update", "delete", "replace")
        return tuple(f"{self.table}_no_{kind}" for kind in kinds)

    def create(self, vendor: str) -> tuple[str, ...]:
        """Return the statements that make the table append-only."""
        return _postgresql(self) if vendor == "postgresql" else _sqlite(self)

    def definitions(self, vendor: str) -> tuple[tuple[str, str], ...]:
        """Return each trigger with what the database has to say about it (`missing`)."""
        if vendor != "postgresql":
            return tuple(zip(self.names(vendor), self.create(vendor), strict=True))
        rows, truncate = self.names(vendor)
        return (
            (rows, _fires(self.table, _ROWS, _body(_lets(self)))),
            (truncate, _fires(self.table, _TRUNCATE, _body(""))),
        )

    def drop(self, vendor: str) -> tuple[str, ...]:
        """Return the statements of the reverse migration."""
        on = f' ON "{self.table}"' if vendor == "postgresql" else ""
        return tuple(f'DROP TRIGGER IF EXISTS "{name}"{on}' for name in self.names(vendor))


def missing(connection: BaseDatabaseWrapper, guards: tuple[AppendOnly, ...]) -> tuple[str, ...]:
    """Return the names of triggers that do not exist, are switched off, or do something else."""
    read = _postgresql_triggers if connection.vendor == "postgresql" else _sqlite_triggers
    with connection.cursor() as cursor:
        present = read(cursor)
    expected = [one for guard in guards for one in guard.definitions(connection.vendor)]
    return tuple(name for name, definition in expected if present.get(name) != definition)


def _sqlite_triggers(cursor: CursorWrapper) -> dict[str, str]:
    cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    return dict(cursor.fetchall())


def _postgresql_triggers(cursor: CursorWrapper) -> dict[str, str]:
    cursor.execute(
        "SELECT t.tgname, c.relname, t.tgtype, p.prosrc FROM pg_trigger t"
        " JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid"
        " WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL"
        " AND pg_table_is_visible(c.oid)"
    )
    return {name: _fires(table, kind, body) for name, table, kind, body in cursor.fetchall()}


def _fires(table: str, kind: int, body: str) -> str:
    return f"{table} {kind} {body.strip()}"


def _postgresql(guard: AppendOnly) -> tuple[str, ...]:
    rows, truncate = guard.names("postgresql")
    lets = _lets(guard)
    function = f"{_FUNCTION}_{guard.table}" if lets else _FUNCTION
    return (
        _postgresql_function(_FUNCTION, ""),
        _postgresql_function(function, lets),
        f'CREATE TRIGGER "{rows}" BEFORE UPDATE OR DELETE ON "{guard.table}" '
        f"FOR EACH ROW EXECUTE FUNCTION {function}()",
        f'CREATE TRIGGER "{truncate}" BEFORE TRUNCATE ON "{guard.table}" '
        f"FOR EACH STATEMENT EXECUTE FUNCTION {_FUNCTION}()",
    )


def _lets(guard: AppendOnly) -> str:
    """Return the statements that let go what may go."""
    lets = f"IF TG_OP = 'DELETE' AND ({guard.deletable}) THEN RETURN OLD; END IF; " if guard.deletable else ""
    if guard.erasable:
        same = _emptied(guard, "IS NOT DISTINCT FROM")
        lets += f"IF TG_OP = 'UPDATE' AND ({same}) THEN RETURN NEW; END IF; "
    return lets


def _postgresql_function(name: str, lets: str) -> str:
    return f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {_body(lets)} $$"


def _body(lets: str) -> str:
    return f"BEGIN {lets}RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '23001'; END"


def _sqlite(guard: AppendOnly) -> tuple[str, ...]:
    update, delete, replace = guard.names("sqlite")
    abort = f"BEGIN SELECT RAISE(ABORT, '{guard.table} is append-only'); END"
    # An explicit rowid replaces whatever row has it; NEW.rowid is -1 when the statement gives none.
    same = " OR ".join((*(_same(key) for key in guard.keys), "rowid = NEW.rowid"))
    replaces = _REPLACES.format(table=guard.table, same=same)
    unless = f"WHEN NOT ({guard.deletable}) " if guard.deletable else ""
    but = f"WHEN NOT ({_emptied(guard, 'IS')}) " if guard.erasable else ""
    return (
        f'CREATE TRIGGER "{update}" BEFORE UPDATE ON "{guard.table}" {but}{abort}',
        f'CREATE TRIGGER "{delete}" BEFORE DELETE ON "{guard.table}" {unless}{abort}',
        f'CREATE TRIGGER "{replace}" BEFORE INSERT ON "{guard.table}" {replaces} {abort}',
    )


def _emptied(guard: AppendOnly, is_same: str) -> str:
    """Return the condition that an update empties something that may be emptied, and does nothing else."""

    def kept(column: str) -> str:
        return f'NEW."{column}" {is_same} OLD."{column}"'

    stays = [kept(column) for column in guard.others]
    stays += [f'({kept(column)} OR NEW."{column}" {is_same} {empty})' for column, empty in guard.erasable]
    goes = [f"NOT ({kept(column)})" for column, _ in guard.erasable]
    return f"{' AND '.join(stays)} AND ({' OR '.join(goes)})"


def _same(key: tuple[str, ...]) -> str:
    return "(" + " AND ".join(f'"{column}" = NEW."{column}"' for column in key) + ")"
