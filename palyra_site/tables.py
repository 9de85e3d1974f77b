"""Whether this code can use a database at all.

Until 1.0 a migration may be rewritten. A database on which an earlier wording of it ran lacks what the
present wording promises, and no later migration would add it.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from django.db.migrations.loader import MigrationLoader

APPS = ("identity", "policy", "approvals", "sandbox", "vault", "governance")


def broken_promises() -> tuple[str, ...]:
    """Return the tables and columns that applied migrations promise and the database does not have.

    Empty for a new database, and for one of an older release whose migrations are only followed by new ones.
    """
    loader = MigrationLoader(connection)
    applied = [node for node in loader.applied_migrations if node in loader.graph.nodes]
    if not any(app in APPS for app, _ in applied):
        return ()
    promised = loader.project_state(applied).apps
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
    missing: list[str] = []
    for model in promised.get_models(include_auto_created=True):
        options = model._meta
        if options.app_label in APPS and options.managed and not options.proxy:
            wanted = [str(field.column) for field in options.local_concrete_fields]
            missing.extend(_lacking(options.db_table, wanted, tables))
    return tuple(sorted(missing))


def _lacking(table: str, wanted: list[str], tables: set[str]) -> Iterator[str]:
    if table not in tables:
        yield table
        return
    with connection.cursor() as cursor:
        present = {row.name for row in connection.introspection.get_table_description(cursor, table)}
    yield from (f"{table}.{column}" for column in wanted if column not in present)
