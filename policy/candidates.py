"""Sets that are not in force, compiled against the present catalog so that they can be asked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock

from policy.catalog import catalog_digest
from policy.cedar_types import UnrepresentableError
from policy.compilation import DOMAIN, Rule, build_set, compile_set, read_rules, set_hash
from policy.lifecycle import SetState
from policy.models import PolicySet
from policy.placement import EntityHandles
from policy.runtime import Engine
from policy.schema import CedarSchema, build_schema
from policy.set_checking import invalid
from policy.set_files import policy_files
from policy.set_selectors import set_text, source_files
from policy.types import PolicySetRef, ToolFacts

MAX_FINDINGS = 200
_KEPT = 8
_lock = Lock()
_held: OrderedDict[tuple[str, str, str, bool], Shadow] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set as it stood when it was read: its engine and the hash of its text."""

    engine: Engine
    hash: str


@dataclass(frozen=True, slots=True)
class Shadow:
    """A set as its shadow. `engine` is None when it cannot be compiled.

    `differs` is False for the set in force when none of its policies is in shadow.
    """

    engine: Engine | None
    differs: bool


def in_force_since() -> datetime | None:
    """Return when the set in force was activated, or None when there is none."""
    active = PolicySet.objects.filter(domain=DOMAIN, state=SetState.ACTIVE)
    return active.values_list("activated_at", flat=True).first()


def read_candidate(policy_set: PolicySet, tools: Mapping[str, ToolFacts]) -> Candidate:
    """Compile the text of a set as it is now; raises InvalidError `policy_invalid` with every finding."""
    text = set_text(policy_set)
    schema = schema_of(tools)
    digest = set_hash(text.files, schema)
    ref = PolicySetRef(policy_set.pk, policy_set.version, digest)
    found = catalog_digest(tools.values())
    compiled = compile_set(policy_files(text.files), schema, ref=ref, catalog_digest=found)
    if isinstance(compiled, tuple):
        raise invalid(compiled[:MAX_FINDINGS])
    return Candidate(Engine(compiled, EntityHandles(compiled.schema_handle)), digest)


def shadow_of(policy_set: PolicySet, tools: Mapping[str, ToolFacts]) -> Shadow:
    """Return a validated or active set as a shadow evaluates it.

    Of the set in force its `@mode("shadow")` policies are put in force. The last few are kept: the text
    of such a set never changes.
    """
    in_force = policy_set.state == SetState.ACTIVE
    key = (policy_set.pk, policy_set.hash or "", catalog_digest(tools.values()), in_force)
    with _lock:
        if key in _held:
            _held.move_to_end(key)
            return _held[key]
    shadow = _compiled(policy_set, tools, key[2], in_force=in_force)
    with _lock:
        _held[key] = shadow
        while len(_held) > _KEPT:
            _held.popitem(last=False)
    return shadow


def schema_of(tools: Mapping[str, ToolFacts]) -> CedarSchema:
    """Return the schema of this catalog."""
    return build_schema({name: tool.input_schema for name, tool in tools.items()})


def _compiled(
    policy_set: PolicySet, tools: Mapping[str, ToolFacts], digest: str, *, in_force: bool
) -> Shadow:
    files = policy_files(source_files(policy_set))
    ref = PolicySetRef(policy_set.pk, policy_set.version, policy_set.hash or "")
    try:
        rules, _ = read_rules(files)
        if in_force and all(rule.in_force for rule in rules):
            return Shadow(None, differs=False)
        schema = schema_of(tools)
        compiled = compile_set(files, schema, ref=ref, catalog_digest=digest)
        if isinstance(compiled, tuple):
            return Shadow(None, differs=True)
        if in_force:
            put = [_put_in_force(rule) for rule in rules]
            compiled = build_set(put, schema, ref=ref, catalog_digest=digest)
    except (UnrepresentableError, ValueError):
        return Shadow(None, differs=True)
    return Shadow(Engine(compiled, EntityHandles(compiled.schema_handle)), differs=True)


def _put_in_force(rule: Rule) -> Rule:
    annotations = {name: value for name, value in rule.annotations.items() if name != "mode"}
    return replace(rule, annotations=annotations)
