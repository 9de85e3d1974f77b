"""Which rules an explanation asks, and what a recorded decision was asked. Reads only."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from kernel.errors import NotFoundError
from kernel.ids import is_id
from policy.candidates import MAX_FINDINGS, schema_of
from policy.catalog import catalog_digest, short_name
from policy.compilation import DOMAIN, SourceFile, compile_set
from policy.decisions import question
from policy.engine import refuse
from policy.explaining import Explained, explain, placed
from policy.models import DecisionRecord, PolicySet
from policy.placement import EntityHandles
from policy.replaying import RecordError, read_snapshot, unpack
from policy.runtime import Engine, EpochMissingError, Runtime, current, load_tools
from policy.schema import CedarSchema, action_text
from policy.set_checking import invalid, set_hash
from policy.set_files import policy_files
from policy.set_selectors import ACTIVE, require_set, set_text, source_files
from policy.types import NO_SET, Asked, Code, DecisionFacts, Finding, PolicySetRef

log = logging.getLogger(__name__)
_KEPT = 4
_lock = Lock()
"""Held while a set is compiled: whoever asks for it too waits instead of compiling it once more."""
_held: OrderedDict[tuple[str, str, str], Engine | tuple[Finding, ...]] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Ground:
    """The rules that are asked: their set, its files and its engine; None where nothing can be asked."""

    ref: PolicySetRef
    state: str
    files: tuple[SourceFile, ...]
    engine: Engine | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision as it was made, and what it was asked. `exact` is False when its input was redacted."""

    asked: Asked
    effect: str
    reason_code: str
    policy_set: str
    decided_at: datetime
    exact: bool


def ground_named(set_id: str) -> Ground:
    """Return the set in force for the alias `active`, or the set of this id as it is now.

    A draft is compiled against the present catalog. Raises NotFoundError, and InvalidError
    `policy_invalid` with every finding for a set that does not validate.
    """
    runtime = _runtime()
    if runtime is None:
        return NOTHING
    if set_id == ACTIVE:
        engine = runtime.engine
        return NOTHING if engine is None else _in_force(engine)
    if not is_id("pol", set_id):
        raise NotFoundError("not_found", "There is no such policy set.")
    chosen = require_set(set_id, domain=DOMAIN)
    if chosen.domain != DOMAIN:
        raise NotFoundError("not_found", "There is no such policy set.")
    return _as_it_is(chosen, runtime)


NOTHING = Ground(NO_SET, "", (), None)
"""No set is in force, so nothing is permitted."""


def question_of(facts: DecisionFacts) -> Asked | None:
    """Return what the gate would ask about these facts; None before the installation has any rules."""
    try:
        _, asked = question(facts)
    except EpochMissingError:
        return None
    return asked


def explained(asked: Asked | None, ground: Ground) -> Explained:
    """Explain one question by one set, with the places its rules have in the files of the set."""
    if asked is None or ground.engine is None:
        return Explained(refuse(Code.NO_ACTIVE_SET, "No policy set is in force, so nothing is permitted."))
    return placed(explain(asked, ground.engine.compiled, ground.engine.handles), ground.files)


def recorded_decision(call_id: str) -> Recorded | None:
    """Return the newest decision about a call, or None when none was kept that can be asked again."""
    rows = DecisionRecord.objects.filter(call_id=call_id).select_related("entities")
    row = rows.order_by("-decided_at", "-pk").first()
    if row is None:
        return None
    try:
        asked = unpack(row.request, read_snapshot(row.entities.entities))
    except RecordError:
        log.exception("the record %s cannot be asked again", row.pk)
        return None
    return Recorded(
        asked=asked,
        effect=row.effect,
        reason_code=row.reason_code,
        policy_set=row.policy_set_id or "",
        decided_at=row.decided_at,
        exact=row.exact,
    )


@dataclass(frozen=True, slots=True)
class SchemaText:
    """The schema that rules are checked against, as Cedar text: all of it, or what one tool adds to it.

    `schema_digest` covers everything but the tools.
    """

    tool: str | None
    text: str
    schema_digest: str
    catalog_digest: str


def schema_text(tool: str | None) -> SchemaText:
    """Return the generated schema. Raises NotFoundError `tool_not_found` for an unknown tool."""
    tools = load_tools()
    schema = schema_of(tools)
    text = schema.text
    if tool is not None:
        name = short_name(tool)
        if name not in tools:
            raise NotFoundError("tool_not_found", "There is no such tool.")
        tool, text = name, action_text(name, tools[name].input_schema)
    return SchemaText(tool, text, schema.static_digest, catalog_digest(tools.values()))


def _runtime() -> Runtime | None:
    try:
        return current()
    except EpochMissingError:
        return None


def _in_force(engine: Engine) -> Ground:
    chosen = require_set(engine.compiled.ref.id)
    return Ground(engine.compiled.ref, chosen.state, source_files(chosen), engine)


def _as_it_is(chosen: PolicySet, runtime: Runtime) -> Ground:
    """Return a set with its engine against the present catalog; the last few texts are kept compiled."""
    text, schema = set_text(chosen), schema_of(runtime.tools)
    ref = PolicySetRef(chosen.pk, chosen.version, set_hash(text, schema.static_digest))
    key = (chosen.pk, ref.hash, catalog_digest(runtime.tools.values()))
    with _lock:
        if key not in _held:
            _held[key] = _compiled(text.files, schema, ref, key[2])
        _held.move_to_end(key)
        found = _held[key]
        while len(_held) > _KEPT:
            _held.popitem(last=False)
    if isinstance(found, tuple):
        raise invalid(found)
    return Ground(ref, chosen.state, text.files, found)


def _compiled(
    files: Sequence[SourceFile], schema: CedarSchema, ref: PolicySetRef, catalog: str
) -> Engine | tuple[Finding, ...]:
    compiled = compile_set(policy_files(files), schema, ref=ref, catalog_digest=catalog)
    if isinstance(compiled, tuple):
        return compiled[:MAX_FINDINGS]
    return Engine(compiled, EntityHandles(compiled.schema_handle))
