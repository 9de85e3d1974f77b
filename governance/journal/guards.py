"""The tables whose rows stay as they were written, and the check that their triggers exist."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connection
from django.db.utils import DatabaseError

from kernel.append_only import AppendOnly, missing

GUARDED = (
    AppendOnly("governance_journalevent", (("id",), ("run_id", "run_seq"))),
    AppendOnly("governance_journalpayload", (("event_id",),)),
    AppendOnly("governance_attestation", (("id",), ("call_id",))),
)


@register(Tags.database)
def triggers_exist(app_configs: Any, databases: Any = None, **_: Any) -> list[CheckMessage]:
    """`journal.E001`: a journal table can be changed, because a trigger is missing or switched off."""
    if not databases:
        return []
    try:
        if "governance_journalevent" not in connection.introspection.table_names():
            return []
        names = missing(connection, GUARDED)
    except DatabaseError:
        return []
    return [Error(f"the trigger {name} is missing", id="journal.E001") for name in names]
