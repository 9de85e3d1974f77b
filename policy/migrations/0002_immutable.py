"""The database itself keeps the files of a set and the versions of a tool from being changed."""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_STATE = "(SELECT state FROM policy_policyset WHERE id = {row}.policy_set_id)"


def _frozen(row: str) -> str:
    """A condition: the row's set exists and is no draft."""
    return f"COALESCE({_STATE.format(row=row)}, 'draft') <> 'draft'"


SQLITE = (
    f"""CREATE TRIGGER policy_file_insert BEFORE INSERT ON policy_policyfile
    WHEN {_frozen("NEW")} BEGIN SELECT RAISE(ABORT, 'immutable: the policy set is no draft'); END""",
    f"""CREATE TRIGGER policy_file_update BEFORE UPDATE ON policy_policyfile
    WHEN {_frozen("OLD")} OR {_frozen("NEW")}
    BEGIN SELECT RAISE(ABORT, 'immutable: the policy set is no draft'); END""",
    f"""CREATE TRIGGER policy_file_delete BEFORE DELETE ON policy_policyfile
    WHEN {_frozen("OLD")} BEGIN SELECT RAISE(ABORT, 'immutable: the policy set is no draft'); END""",
    """CREATE TRIGGER policy_tool_version_update BEFORE UPDATE ON policy_toolversion
    BEGIN SELECT RAISE(ABORT, 'immutable: a tool version never changes'); END""",
    """CREATE TRIGGER policy_tool_version_delete BEFORE DELETE ON policy_toolversion
    BEGIN SELECT RAISE(ABORT, 'immutable: a tool version never changes'); END""",
)

POSTGRESQL = (
    f"""CREATE FUNCTION policy_file_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' AND {_frozen("OLD")} THEN
            RAISE EXCEPTION 'immutable: the policy set is no draft' USING ERRCODE = 'restrict_violation';
        END IF;
        IF TG_OP <> 'DELETE' AND {_frozen("NEW")} THEN
            RAISE EXCEPTION 'immutable: the policy set is no draft' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN COALESCE(NEW, OLD);
    END $$""",
    """CREATE TRIGGER policy_file_guard BEFORE INSERT OR UPDATE OR DELETE ON policy_policyfile
    FOR EACH ROW EXECUTE FUNCTION policy_file_guard()""",
    """CREATE FUNCTION policy_tool_version_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'immutable: a tool version never changes' USING ERRCODE = 'restrict_violation';
    END $$""",
    """CREATE TRIGGER policy_tool_version_guard BEFORE UPDATE OR DELETE ON policy_toolversion
    FOR EACH ROW EXECUTE FUNCTION policy_tool_version_guard()""",
)

SQLITE_UNDO = tuple(
    f"DROP TRIGGER {name}"
    for name in (
        "policy_file_insert",
        "policy_file_update",
        "policy_file_delete",
        "policy_tool_version_update",
        "policy_tool_version_delete",
    )
)
POSTGRESQL_UNDO = (
    "DROP TRIGGER policy_file_guard ON policy_policyfile",
    "DROP FUNCTION policy_file_guard()",
    "DROP TRIGGER policy_tool_version_guard ON policy_toolversion",
    "DROP FUNCTION policy_tool_version_guard()",
)


def _run(schema_editor: BaseDatabaseSchemaEditor, sqlite: tuple[str, ...], postgresql: tuple[str, ...]) -> None:
    for statement in sqlite if schema_editor.connection.vendor == "sqlite" else postgresql:
        schema_editor.execute(statement, params=None)


def create_triggers(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _run(schema_editor, SQLITE, POSTGRESQL)


def drop_triggers(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _run(schema_editor, SQLITE_UNDO, POSTGRESQL_UNDO)


class Migration(migrations.Migration):
    dependencies = (("policy", "0001_initial"),)
    operations = (migrations.RunPython(create_triggers, drop_triggers),)
