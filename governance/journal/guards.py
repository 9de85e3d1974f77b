"""The tables whose rows stay as they were written, and the check that their triggers exist."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connection
from django.db.utils import DatabaseError

from kernel.append_only import AppendOnly, missing

_ARCHIVED = (
    "EXISTS (SELECT 1 FROM governance_journalleaf leaf JOIN governance_journalarchive archive"
    " ON leaf.seq >= archive.first_seq AND leaf.seq < archive.end_seq"
    " WHERE leaf.event_id = OLD.{column} AND archive.verified_at IS NOT NULL)"
)

GUARDED = (
    AppendOnly("governance_journalevent", (("id",), ("run_id", "run_seq")), _ARCHIVED.format(column="id")),
    AppendOnly("governance_journalpayload", (("event_id",),), _ARCHIVED.format(column="event_id")),
    AppendOnly("governance_attestation", (("id",), ("call_id",))),
    AppendOnly("governance_journalleaf", (("seq",), ("event_id",))),
    AppendOnly("governance_journaltile", (("id",), ("level", "index"))),
    AppendOnly("governance_journalcheckpoint", (("tree_size",),)),
    AppendOnly("governance_journalcosignature", (("id",), ("checkpoint_id", "witness"))),
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
